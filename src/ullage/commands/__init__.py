"""The verbs, one file each: a ``VERB`` that says what may be asked, and the function that answers."""
