"""The suite that every channel layer passes, yours too.

```python
class TestMyLayer(ChannelLayerContract):
    shared_between_layers = True

    @pytest.fixture
    def make_layer(self, server_url):
        prefix = uuid4().hex
        return lambda **options: MyLayer(server_url, **{**options, "prefix": prefix + options.get("prefix", "")})
```

`make_layer` is a fixture: a callable that makes a new layer, each time on the same backend. It takes what the layer's
constructor takes (`capacity`, `channel_capacity`, `expiry`), and, where layers share something, a `prefix`: it may put
something before it, so that tests do not meet, but two different prefixes must stay different, and the longer one
longer. The layers are closed by the suite.

The class attributes of `ContractTests` say where layers differ. No plugin is needed: each test runs its own event loop.
"""

from fast_channels.testing.contract.audiences import AudiencesContract
from fast_channels.testing.contract.cancelling import CancellingContract
from fast_channels.testing.contract.capacity import CapacityContract
from fast_channels.testing.contract.delivery import DeliveryContract
from fast_channels.testing.contract.expiry import ExpiryContract
from fast_channels.testing.contract.groups import GroupsContract
from fast_channels.testing.contract.harness import ContractTests
from fast_channels.testing.contract.input import InputContract
from fast_channels.testing.contract.life import LifeContract
from fast_channels.testing.contract.looking import LookingContract
from fast_channels.testing.contract.loops import LoopsContract
from fast_channels.testing.contract.many import ManyContract
from fast_channels.testing.contract.sending import SendingContract
from fast_channels.testing.contract.shared import SharedContract
from fast_channels.testing.contract.values import ValuesContract

__all__ = ["ChannelLayerContract", "ContractTests"]


class ChannelLayerContract(
    SendingContract,
    ManyContract,
    GroupsContract,
    AudiencesContract,
    CapacityContract,
    ExpiryContract,
    CancellingContract,
    ValuesContract,
    InputContract,
    DeliveryContract,
    LifeContract,
    LoopsContract,
    LookingContract,
    SharedContract,
):
    """Every promise of `BaseChannelLayer`, as tests."""
