"""The page in a browser, on the machine of a real driver with leases of a real server."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from lab.browser import browser
from lab.d4d_driver import Driver
from lab.dhcp_servers import Dhcpd
from lab.lab import Lab
from lab.plugin_calls import call
from lab.standard_site import ADDRESSES, MACVLAN, SITE

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.asyncio(loop_scope="module"),
]

TOKEN = "a token for the test"
PAGE = "http://127.0.0.1:8053/"
SMALL = "192.168.59.0/24"
LEASE = timedelta(seconds=8)
PHONE = {"width": 360, "height": 780}
EVIL = "<img src=x onerror=alert(1)>"


class Site:
    """A server, a Docker host with the driver, and a second driver that asks for a token."""

    def __init__(self, lab: Lab) -> None:
        switch = lab.switch()
        machine = lab.machine("server", switch, "10.77.0.1/16")
        self.server = lab.server(Dhcpd, machine, replace(SITE, lease_time=LEASE))
        self.server.start()
        bind = {"D4D_ADMIN_BIND": "127.0.0.1:8053"}
        self.host = lab.host("host", switch, "10.77.0.2/16", settings=bind)
        self.host.start()
        self.engine, self.driver = self.host.engine, self.host.driver
        self.engine.network_create("lan", *MACVLAN, *ADDRESSES)
        small = {"Pool": SMALL, "Options": {"allocator": "range"}}
        self.small = str(self.ask("RequestPool", small)["PoolID"])
        guarded = lab.machine("guarded", switch, "10.77.0.3/16")
        self.guarded = Driver(
            guarded,
            socket=guarded.directory / "talkingdata.sock",
            docker_socket=guarded.directory / "none.sock",
            settings={"D4D_ADMIN_BIND": "10.77.0.3:8053", "D4D_ADMIN_TOKEN": TOKEN},
        )
        self.guarded.start()

    def ask(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = call(self.driver.socket, f"IpamDriver.{verb}", body)
        assert reply.status == 200, reply
        content: dict[str, Any] = reply.content
        return content

    def lease(self, number: int, name: str) -> str:
        """An address of the /24, as for a container of that name."""
        options = {
            "com.docker.network.endpoint.macaddress": f"02:42:0a:4d:00:{number:02x}",
            "com.docker.network.endpoint.name": name,
        }
        asked = {"PoolID": self.small, "Address": "", "Options": options}
        return str(self.ask("RequestAddress", asked)["Address"]).partition("/")[0]

    def release(self, address: str) -> None:
        self.ask("ReleaseAddress", {"PoolID": self.small, "Address": address})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        site = Site(lab)
        yield site
        lost = '"event": "lost"'  # a test is about one
        assert [line for line in site.driver.exceptions() if lost not in line] == []
        assert site.guarded.exceptions() == []
        assert site.guarded.stop() == 0


@pytest.fixture(scope="module")
def addresses(site: Site) -> list[str]:
    """Of web, db and cache, in the /24."""
    return [site.lease(number, name) for number, name in enumerate(("web", "db", "cache"))]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium(site: Site) -> AsyncIterator[Browser]:
    async with browser(site.host.namespace) as running:
        yield running


@asynccontextmanager
async def opened(
    chromium: Browser, address: str = PAGE, *, troubled: bool = False, **options: Any
) -> AsyncIterator[Page]:
    """The page in a browser that was never here; nothing may go wrong in it unless ``troubled``."""
    context = await chromium.new_context(**options)
    try:
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.extend(complaint(line)))
        page.on("request", lambda asked: wrong.extend(outside(asked.url)))
        await page.goto(address)
        yield page
        assert troubled or wrong == []
    finally:
        await context.close()


def complaint(line: ConsoleMessage) -> list[str]:
    """What the browser says; that /readyz answered "no" is an answer, which the page shows."""
    if line.location["url"].endswith("/readyz"):
        return []
    return [f"{line.type}: {line.text} {line.location['url']}"]


def outside(url: str) -> list[str]:
    return [] if url.startswith(("http://127.0.0.1:8053/", "http://10.77.0.3:8053/")) else [url]


@pytest_asyncio.fixture(loop_scope="module")
async def page(chromium: Browser, addresses: list[str]) -> AsyncIterator[Page]:
    async with opened(chromium) as page:
        await is_live(page)
        yield page


async def is_live(page: Page) -> None:
    await expect(page.locator("#connection")).to_have_text("Live", timeout=20_000)


def row(page: Page, name: str) -> Locator:
    return page.locator("#lease-rows tr", has=page.get_by_role("cell", name=name, exact=True))


async def names(page: Page) -> list[str]:
    return await page.locator("#lease-rows .of-name").all_inner_texts()


async def findings(page: Page) -> list[str]:
    """What axe has against the page, where it is serious."""
    results = await Axe().run(page)
    return [
        f"{each['id']}: {node['html']} {node['failureSummary']}"
        for each in results.response["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


# Leases


async def test_a_container_that_starts_is_seen_at_once(site: Site, page: Page) -> None:
    end = await asyncio.to_thread(site.engine.run, "live")
    lease = row(page, end.mac)
    await expect(lease.locator(".of-address")).to_have_text(str(end.address))
    await expect(lease.locator(".of-name")).to_have_text("live", timeout=10_000)
    assert site.server.leased()[end.address].mac == end.mac
    first = page.locator("#event-list li").first
    await expect(first).to_contain_text("acquired")
    await expect(page.locator("#event-list")).to_contain_text(str(end.address))


async def test_its_timers_run(site: Site, page: Page) -> None:
    end = await asyncio.to_thread(site.engine.run, "timed")
    expires = row(page, end.mac).locator(".of-expires time")
    await expect(expires).to_have_text(re.compile(r"^in \ds$"))
    before = await expires.inner_text()
    await expect(expires).not_to_have_text(before)


async def test_a_lease_that_is_given_back_goes(site: Site, page: Page) -> None:
    address = site.lease(77, "brief")
    await expect(row(page, "brief")).to_be_visible()
    site.release(address)
    await expect(row(page, "brief")).to_have_count(0)


async def test_leases_are_searched(page: Page, addresses: list[str]) -> None:
    await page.keyboard.press("/")
    for words, found in (("web", "web"), (addresses[1], "db"), ("4d:00:02 bound", "cache")):
        await page.keyboard.type(words)
        await expect(page.locator("#lease-rows .of-name")).to_have_text([found])
        await page.get_by_label("Search").clear()
    await page.keyboard.type("nobody")
    await expect(page.locator("#lease-none")).to_have_text("No lease fits.")


async def test_leases_are_sorted(page: Page) -> None:
    await page.get_by_label("Pool", exact=True).select_option(label=SMALL)
    head = page.get_by_role("columnheader", name="Name")
    await expect(page.get_by_role("columnheader", name="Address")).to_have_attribute(
        "aria-sort", "ascending"
    )
    await head.get_by_role("button").click()
    await expect(head).to_have_attribute("aria-sort", "ascending")
    assert await names(page) == ["cache", "db", "web"]
    await head.get_by_role("button").press("Enter")
    await expect(head).to_have_attribute("aria-sort", "descending")
    assert await names(page) == ["web", "db", "cache"]


async def test_a_lease_shows_all_that_is_known_of_it(site: Site, page: Page) -> None:
    end = await asyncio.to_thread(site.engine.run, "known")
    await row(page, end.mac).get_by_role("link").click()
    sheet = page.get_by_role("dialog", name=str(end.address))
    for text in ("10.77.0.1", "8s (8 s)", "d4d.test", end.mac, "acquired", "Renews (T1)"):
        await expect(sheet).to_contain_text(text)
    assert f"lease={end.address}" in page.url
    await page.reload()
    await expect(sheet).to_contain_text(end.mac)
    await page.keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await expect(page).not_to_have_url(re.compile("lease="))  # it changes behind the sheet's end


async def test_a_name_is_never_taken_for_html(site: Site, page: Page) -> None:
    address = site.lease(99, EVIL)
    try:
        await expect(row(page, EVIL)).to_have_count(1)
        await row(page, EVIL).get_by_role("link").click()
        await expect(page.get_by_role("dialog")).to_contain_text(EVIL)
        assert await page.locator("[onerror]").count() == 0
    finally:
        site.release(address)


async def test_a_list_is_taken_with_all_its_pages(page: Page, addresses: list[str]) -> None:
    found = await page.evaluate("""async () => {
        const { getAll } = await import("/page/api.js");
        const { leases } = await getAll("api/leases?limit=1", "leases");
        return leases.map((lease) => lease.address);
    }""")
    assert set(addresses) <= set(found)
    assert len(set(found)) == len(found)


async def test_a_page_of_another_site_leads_to_ours_and_to_nothing_else(
    site: Site, chromium: Browser
) -> None:
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        other = "http://127.0.0.1:9999/"  # another port's: of the same site, and not our page
        await page.route(f"{other}**", lambda route: route.fulfill(body="elsewhere"))
        for path, status in (("api/leases", 403), ("", 200)):
            await page.goto(other)
            async with page.expect_navigation() as followed:
                await page.evaluate("(url) => { location.href = url; }", f"{PAGE}{path}")
            answer = await followed.value
            assert answer is not None and answer.status == status
    finally:
        await context.close()


# The map


async def test_the_map_of_a_24_has_a_cell_for_each_address(
    page: Page, addresses: list[str]
) -> None:
    await page.get_by_role("button", name=SMALL).click()
    cells = page.get_by_role("gridcell")
    await expect(cells).to_have_count(256)
    web = page.get_by_role("gridcell", name=f"{addresses[0]}: web, bound")
    await expect(web).to_have_attribute("data-state", "bound")
    await expect(cells.nth(0)).to_have_attribute("data-state", "edge")
    await expect(page.get_by_role("gridcell", name=f"{SMALL[:-4]}200: free")).to_be_visible()
    await cells.nth(0).focus()
    for _ in range(int(addresses[0].rpartition(".")[2])):
        await page.keyboard.press("ArrowRight")
    await expect(web).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name=addresses[0])).to_be_visible()


async def test_the_map_of_a_16_has_blocks_to_look_into(site: Site, page: Page) -> None:
    end = await asyncio.to_thread(site.engine.run, "mapped")
    cells = page.get_by_role("gridcell")
    await expect(cells).to_have_count(256)
    third = str(end.address).split(".")[2]
    block = page.get_by_role("gridcell", name=re.compile(rf"^10\.77\.{third}\.0.24: [1-9]"))
    await block.click()
    cell = page.get_by_role("gridcell", name=re.compile(rf"^{end.address}: .*, (bound|renewing)"))
    await expect(cell).to_be_visible()
    await expect(cells).to_have_count(256)
    await page.get_by_role("button", name="All of 10.77.0.0/16").click()
    await expect(block).to_be_visible()


# Who looks, and with what


async def test_a_phone_shows_it_without_scrolling_sideways(
    chromium: Browser, addresses: list[str]
) -> None:
    async with opened(chromium, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        await is_live(page)
        await page.get_by_role("button", name=SMALL).click()
        await expect(row(page, "web").locator(".of-state")).to_be_visible()
        await page.get_by_label("Sorted by").select_option("name")
        assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        await row(page, "web").get_by_role("link").click()
        await expect(page.get_by_role("dialog")).to_contain_text("The lease")
        assert await page.evaluate("document.querySelector('dialog').scrollWidth") <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_has_nothing_serious_against_it(
    chromium: Browser, addresses: list[str], scheme: Literal["light", "dark"]
) -> None:
    async with opened(chromium, color_scheme=scheme, bypass_csp=True) as page:
        await is_live(page)
        await expect(page.locator("#map")).to_be_visible()
        assert await findings(page) == []
        await page.get_by_role("button", name=SMALL).click()
        await expect(page.get_by_role("gridcell", name="web")).to_be_visible()
        assert await findings(page) == []
        await row(page, "web").get_by_role("link").click()
        await expect(page.get_by_role("dialog")).to_contain_text("acquired")
        await page.wait_for_timeout(300)  # it slides in, and is half transparent meanwhile
        assert await findings(page) == []


async def test_where_the_driver_wants_its_token_the_page_asks_for_it(
    site: Site, chromium: Browser
) -> None:
    guarded = "http://10.77.0.3:8053/"
    async with opened(chromium, guarded, troubled=True, bypass_csp=True) as page:
        await expect(page.get_by_role("heading", name="asks for its token")).to_be_visible()
        assert await findings(page) == []
        field = page.get_by_label("Token", exact=True)
        await expect(field).to_be_focused()
        await field.fill("not the token")
        await page.keyboard.press("Enter")
        await expect(page.locator("#token-error")).to_have_text(
            "That is not the token of this driver."
        )
        await field.fill(TOKEN)
        await page.keyboard.press("Enter")
        await is_live(page)
        await expect(page.get_by_text("No network uses this driver yet.")).to_be_visible()
        assert await findings(page) == []
        await page.reload()
        await is_live(page)
        await page.get_by_role("button", name="Forget token").click()
        await expect(field).to_be_focused()


async def test_a_driver_that_goes_and_comes_back_is_followed_again(
    site: Site, chromium: Browser, addresses: list[str]
) -> None:
    async with opened(chromium, troubled=True) as page:
        await is_live(page)
        assert site.driver.stop() == 0
        await expect(page.locator("#connection")).to_have_text("Reconnecting")
        site.driver.start()
        await is_live(page)
        await expect(row(page, "web")).to_be_visible()


async def test_a_lost_lease_turns_red(site: Site, page: Page) -> None:
    end = await asyncio.to_thread(site.engine.run, "unlucky")
    await expect(row(page, end.mac).locator(".of-state")).to_have_text("bound")
    site.server.stop()
    patience = 3000 * LEASE.total_seconds()
    state = row(page, end.mac).locator(".state")
    await expect(state).to_have_text("lost", timeout=patience)
    red, green, blue = await page.evaluate(
        "e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)",
        await state.element_handle(),
    )
    assert red > 150 > 2 * max(green, blue)
    await expect(page.locator("#announcer")).to_contain_text("lost")
    await page.get_by_role("button", name=re.compile(r"^\d+ lost")).click()
    await expect(row(page, "web")).to_have_count(0)
    await expect(row(page, end.mac)).to_be_visible()
    lost = page.get_by_role("gridcell", name=re.compile("lost"))
    await expect(lost.first).to_have_attribute("data-state", "block lost")
