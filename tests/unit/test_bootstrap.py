"""The composition root: each choice is wired, and can be built."""

import inspect
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from d4d import bootstrap
from d4d.bootstrap import DriverParts, compose
from d4d.domain.errors import BadRequest
from d4d.domain.policies import IdentityPolicy
from d4d.service_layer.ipam_service import IpamService
from d4d.settings.loading import load_settings
from d4d.settings.model import Settings

BOOTSTRAP = inspect.getsource(bootstrap)
_OTHERWISE: Mapping[str, object] = {
    "store": "redis",
    "identity": IdentityPolicy.CLUSTER_NAME,
    "history_days": 0,
    "webhook_url": "http://127.0.0.1:9/",
}
"""So that each part that a setting may leave out is made in one of the two."""
_ONLY_WHERE_CHOSEN = {"webhook_client"}
_MAY_BE_NONE = {"names", "history", "webhook"}
_READ_ELSEWHERE = {"admin_bind", "admin_token"}  # by the operator's side, which is no part of it


def settings(state_dir: Path, **given: object) -> Settings:
    return load_settings(files=(), state_dir=state_dir, host="host-a", **given)


@pytest.fixture
async def container(tmp_path: Path) -> AsyncIterator[DriverParts]:
    composed = compose(settings(tmp_path))
    yield composed
    await composed.store().aclose()


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, {}) for name in sorted(DriverParts.providers) if name not in _ONLY_WHERE_CHOSEN]
    + [(name, _OTHERWISE) for name in sorted(DriverParts.providers)],
)
async def test_every_provider_can_be_built(
    tmp_path: Path, name: str, given: Mapping[str, object]
) -> None:
    """A misspelt keyword or setting would fail here, not where a driver first needs the part."""
    parts = compose(settings(tmp_path, **given))
    state_dir = parts.state_dir()
    state_dir.lock()
    assert parts.providers[name]() is not None or name in _MAY_BE_NONE
    await parts.store().aclose()
    state_dir.close()


@pytest.mark.parametrize("setting", sorted(set(Settings.model_fields) - _READ_ELSEWHERE))
def test_every_setting_is_wired(setting: str) -> None:
    """One that no provider asks for does nothing, whatever its page says."""
    assert f"settings.provided.{setting}" in BOOTSTRAP


@pytest.mark.parametrize("store", sorted(DriverParts.store.providers))
async def test_each_store_can_be_chosen_and_built(tmp_path: Path, store: str) -> None:
    container = compose(settings(tmp_path / "state", store=store))
    built = container.store()
    assert store in type(built).__name__.lower()
    assert container.store() is built
    await built.aclose()


@pytest.mark.parametrize("allocator", sorted(DriverParts.allocators.kwargs))
async def test_each_allocator_can_be_chosen_and_built(tmp_path: Path, allocator: str) -> None:
    container = compose(settings(tmp_path, allocator=allocator))
    built = container.allocators()[allocator]
    assert allocator in type(built).__name__.lower()
    assert container.allocators()[allocator] is built
    await built.aclose()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"store": "etcd"}, "D4D_STORE=etcd: known are memory, .*sqlite"),
        ({"allocator": "dhcpv6"}, "D4D_ALLOCATOR=dhcpv6: known are dhcp"),
    ],
)
def test_a_choice_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, given: dict[str, str], why: str
) -> None:
    with pytest.raises(BadRequest, match=why):
        compose(settings(tmp_path, **given))


async def test_the_driver_is_built_once(container: DriverParts) -> None:
    assert isinstance(container.ipam(), IpamService)
    assert container.ipam() is container.ipam()


async def test_nothing_is_opened_by_composing(tmp_path: Path) -> None:
    compose(settings(tmp_path / "state"))
    assert not (tmp_path / "state").exists()


async def test_a_host_that_was_renamed_stays_the_owner_of_its_leases(tmp_path: Path) -> None:
    first = compose(settings(tmp_path))
    first.state_dir().lock()
    assert first.owner() == "host-a"
    first.state_dir().close()
    renamed = compose(load_settings(files=(), state_dir=tmp_path, host="host-b"))
    assert renamed.owner() == "host-a"


def test_two_containers_share_nothing(tmp_path: Path) -> None:
    one, other = compose(settings(tmp_path)), compose(settings(tmp_path))
    assert one.clock() is not other.clock()
    assert one.state_dir() is not other.state_dir()
