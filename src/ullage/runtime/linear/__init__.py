"""Linear layers in the forms their weights are kept in."""
