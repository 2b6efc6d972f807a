"""The order application: its saga, and the services that the saga commands or tells."""

from choros import App
from reference_services.contracts import analytics, inventory, notifications, payment, shipping
from reference_services.order.saga import order_saga

app = App(
    "shop",
    name="order",
    sagas=(order_saga,),
    services=(payment, inventory, shipping, notifications, analytics),
)
