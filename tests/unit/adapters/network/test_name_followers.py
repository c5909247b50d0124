"""Who has a socket on an interface hears when the name is another's."""

import asyncio
import gc

from d4d.adapters.network.name_followers import NameFollowers
from d4d.domain.ports.disturbances import LinkChange, LinkChanged, RoutesChanged

REPLACED = LinkChanged(name="eth0", changes=frozenset({LinkChange.REPLACED}))


class FakeFollower:
    def __init__(self, name: str, heard: list[str], *, is_broken: bool = False) -> None:
        self.name = name
        self._heard = heard
        self._is_broken = is_broken

    def follow(self) -> None:
        self._heard.append(self.name)
        if self._is_broken:
            raise ZeroDivisionError


async def test_all_of_that_name_hear_of_it_whatever_one_of_them_meets() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    followers, heard = NameFollowers(), list[str]()
    kept = [
        followers.add(FakeFollower(name, heard, is_broken=True))
        for name in ("eth0", "eth0", "eth1")
    ]
    followers(REPLACED)
    followers(RoutesChanged())
    assert heard == ["eth0", "eth0"]
    assert len(kept) == 3


async def test_it_keeps_nobody_alive() -> None:
    followers, heard = NameFollowers(), list[str]()
    followers.add(FakeFollower("eth0", heard))
    gc.collect()
    followers(REPLACED)
    assert heard == []
