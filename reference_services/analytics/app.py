"""The analytics service as an application of its own: `choros run reference_services.analytics`."""

from choros import App
from reference_services.analytics.service import analytics_service

app = App("shop", services=(analytics_service(),))
