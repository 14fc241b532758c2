"""The ledger of a case, by the product its release is."""

from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.ktransformers import classic, kernel
from ullage.engines.ktransformers.versions import Product, product


def ledger(case: Case) -> Ledger:
    """Everything on every device, phase by phase."""
    return classic.ledger(case) if product(case) is Product.CLASSIC else kernel.ledger(case)
