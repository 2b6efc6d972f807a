"""The demo: places orders with the whole shop and balances the books afterwards (`choros demo`)."""

from reference_services.demo.command import run

__all__ = ["run"]
