"""The bodies of IpamDriver.*, as dockerd sends them and expects them answered."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from d4d.domain.addressing import Address, MacAddress, parse_address, parse_subnet
from d4d.domain.errors import BadRequest
from d4d.domain.leases import Endpoint
from d4d.domain.pools import Pool, PoolOptions, PoolRequest

_ADDRESS_TYPE = "RequestAddressType"
_GATEWAY = "com.docker.network.gateway"
_MAC = "com.docker.network.endpoint.macaddress"
_NAME = "com.docker.network.endpoint.name"

Options = Annotated[dict[str, str], BeforeValidator(lambda value: {} if value is None else value)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Body = TypeVar("Body", bound=_Body)


class RequestPool(_Body):
    """A network is being created."""

    pool: str = Field("", alias="Pool")
    sub_pool: str = Field("", alias="SubPool")
    options: Options = Field(default_factory=dict, alias="Options")
    v6: bool = Field(False, alias="V6")

    def request(self) -> PoolRequest:
        """What it asks for. Raises BadRequest."""
        return PoolRequest(
            subnet=parse_subnet(self.pool, what="--subnet") if self.pool else None,
            range=parse_subnet(self.sub_pool, what="--ip-range") if self.sub_pool else None,
            options=PoolOptions.parse(self.options),
            version=6 if self.v6 else 4,
        )


class ReleasePool(_Body):
    """A network has been removed."""

    pool_id: str = Field(alias="PoolID")


class RequestAddress(_Body):
    """A gateway, an auxiliary address, or a container's: the options tell which."""

    pool_id: str = Field(alias="PoolID")
    preferred: str = Field("", alias="Address")
    options: Options = Field(default_factory=dict, alias="Options")

    @property
    def is_gateway(self) -> bool:
        """Whether it is the network's gateway."""
        return self.options.get(_ADDRESS_TYPE) == _GATEWAY

    def address(self) -> Address | None:
        """The address that is asked for, if one is. Raises BadRequest."""
        return parse_address(self.preferred, what="address") if self.preferred else None

    def endpoint(self) -> Endpoint | None:
        """The container that asks; None where it is no container's. Raises BadRequest."""
        if not (mac := self.options.get(_MAC)):
            return None
        return Endpoint(mac=MacAddress.parse(mac), name=self.options.get(_NAME) or None)


class ReleaseAddress(_Body):
    """An address is not used any more."""

    pool_id: str = Field(alias="PoolID")
    released: str = Field(alias="Address")

    def address(self) -> Address:
        """The address. Raises BadRequest."""
        return parse_address(self.released, what="address")


def read(model: type[Body], body: bytes) -> Body:
    """The body as ``model``. Raises BadRequest."""
    if not body.strip():
        raise BadRequest(
            "empty request body: the connection broke while Docker sent the request, and it "
            "repeats a broken request without its body. Try again"
        )
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors()
        )
        raise BadRequest(f"malformed request: {wrong}") from error


def pool_answer(pool: Pool) -> dict[str, Any]:
    """The answer to RequestPool: with a gateway in Data, Docker asks for none."""
    data = {_GATEWAY: pool.cidr(pool.gateway)} if pool.gateway else {}
    return {"PoolID": pool.id, "Pool": str(pool.subnet), "Data": data}
