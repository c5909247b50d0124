"""What an operator sets, in the environment or in a file, under our names or the seed's."""

from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from d4d.domain.errors import BadRequest
from d4d.domain.policies import IdentityPolicy, Mode
from d4d.settings.files import plugin_socket
from d4d.settings.loading import load_settings, shown
from d4d.settings.model import Settings


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in Settings.model_fields:
        monkeypatch.delenv(f"D4D_{field.upper()}", raising=False)
    for name in ("DHCP_SERVER", "LISTEN_ADDR", "IPAM_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def from_file(tmp_path: Path, text: str, **given: object) -> Settings:
    path = tmp_path / "d4d.conf"
    path.write_text(text)
    return load_settings(files=(path,), **given)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings(files=())
    assert (settings.allocator, settings.store) == ("dhcp", "sqlite")
    assert settings.dhcp_server == ()
    assert settings.listen_addr is None
    assert settings.dhcp_mode is Mode.AUTO
    assert settings.hold == timedelta(0)
    assert not settings.debug
    assert settings.host


def test_a_file_that_is_not_there_sets_nothing(tmp_path: Path) -> None:
    assert load_settings(files=(tmp_path / "none",)) == load_settings(files=())


def test_the_seeds_file_is_read_as_it_was(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        "# DHCP server\nDHCP_SERVER=10.77.0.1\nLISTEN_ADDR=10.77.0.9\nIPAM_DEBUG=true\n",
    )
    assert settings.dhcp_server == (IPv4Address("10.77.0.1"),)
    assert settings.listen_addr == IPv4Address("10.77.0.9")
    assert settings.debug


def test_the_seeds_zero_addresses_mean_any(tmp_path: Path) -> None:
    settings = from_file(tmp_path, "DHCP_SERVER=0.0.0.0\nLISTEN_ADDR=0.0.0.0\n")
    assert (settings.dhcp_server, settings.listen_addr) == ((), None)


def test_a_file_has_comments_quotes_and_export(tmp_path: Path) -> None:
    settings = from_file(
        tmp_path,
        "# at first\n"
        "D4D_HOLD=90s            # until a container is back\n"
        'D4D_PARENT="eth0.10"    # the VLAN\n'
        "export D4D_STORE=memory\n"
        "\n"
        "D4D_DHCP_MODE=relay\n",
    )
    assert settings.hold == timedelta(seconds=90)
    assert settings.parent == "eth0.10"
    assert settings.store == "memory"
    assert settings.dhcp_mode is Mode.RELAY


def test_several_servers_are_separated_by_commas(tmp_path: Path) -> None:
    settings = from_file(tmp_path, "D4D_DHCP_SERVER=10.77.0.1, 10.77.0.2\n")
    assert settings.dhcp_server == (IPv4Address("10.77.0.1"), IPv4Address("10.77.0.2"))


@pytest.mark.parametrize("name", ["DHCP_SERVER", "D4D_DHCP_SERVER"])
@pytest.mark.parametrize("name_in_file", ["DHCP_SERVER", "D4D_DHCP_SERVER"])
def test_the_environment_wins_over_a_file_by_either_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, name_in_file: str
) -> None:
    monkeypatch.setenv(name, "10.77.0.2")
    settings = from_file(tmp_path, f"{name_in_file}=10.77.0.1\n")
    assert settings.dhcp_server == (IPv4Address("10.77.0.2"),)


@pytest.mark.parametrize("name", ["DHCP_SERVER", "D4D_DHCP_SERVER"])
def test_the_command_line_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "10.77.0.2")
    settings = load_settings(files=(), dhcp_server="10.77.0.3")
    assert settings.dhcp_server == (IPv4Address("10.77.0.3"),)


def test_our_name_wins_over_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_DHCP_SERVER", "10.77.0.1")
    monkeypatch.setenv("DHCP_SERVER", "10.77.0.2")
    assert load_settings(files=()).dhcp_server == (IPv4Address("10.77.0.1"),)


def test_a_later_file_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "seed.conf", tmp_path / "d4d.conf"
    first.write_text("IPAM_DEBUG=true\nDHCP_SERVER=10.77.0.1\n")
    second.write_text("D4D_DHCP_SERVER=10.77.0.2\n")
    settings = load_settings(files=(first, second))
    assert settings.dhcp_server == (IPv4Address("10.77.0.2"),)
    assert settings.debug


def test_debug_can_be_turned_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPAM_DEBUG", "true")
    assert not load_settings(files=(), debug=False).debug


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("D4D_HOST", "")
    monkeypatch.setenv("D4D_PARENT", "")
    assert load_settings(files=()) == load_settings(files=())


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(files=()).debug = True


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("D4D_HOLD=25", "D4D_HOLD: .*'25' is no duration: write it as 50ms, 25s or 1h30m"),
        ("D4D_HOLD=soon", "D4D_HOLD: .*'soon' is no duration"),
        ("D4D_HOLD=-5s", "D4D_HOLD: .*must not be less than 0s"),
        ("D4D_DHCP_DEADLINE=0s", "D4D_DHCP_DEADLINE: .*must be longer than 0s"),
        ("D4D_DHCP_WINDOW=0", "D4D_DHCP_WINDOW: .*greater than or equal to 1"),
        ("DHCP_SERVER=dhcp1", "D4D_DHCP_SERVER: .*'dhcp1' is no IP address"),
        ("D4D_DHCP_SERVER=fd00::1", "D4D_DHCP_SERVER: .*'fd00::1' is no IPv4 address"),
        ("LISTEN_ADDR=eth0", "D4D_LISTEN_ADDR: .*'eth0' is no IP address"),
        ("D4D_LISTEN_ADDR=fd00::1", "D4D_LISTEN_ADDR: .*IPv4 address"),
        ("IPAM_DEBUG=perhaps", "D4D_DEBUG: .*boolean"),
        ("D4D_IDENTITY=serial", "D4D_IDENTITY: .*'auto', 'mac', 'name' or 'cluster-name'"),
        ("D4D_DHCP_MODE=l3", "D4D_DHCP_MODE: .*'auto', 'l2' or 'relay'"),
        ("D4D_HOSTNAME={id}", r"D4D_HOSTNAME: .*only \{name\} and \{host\} are known"),
        ("D4D_HOSTNAME={", "D4D_HOSTNAME: "),
        ("D4D_HOSTNAME={name!x}", "D4D_HOSTNAME: "),
        ("D4D_HOSTNAME={name:d}", "D4D_HOSTNAME: "),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(tmp_path: Path, line: str, why: str) -> None:
    with pytest.raises(BadRequest, match=f"settings: {why}"):
        from_file(tmp_path, line)


def test_every_wrong_value_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"D4D_IDENTITY: .*; D4D_HOLD: "):
        from_file(tmp_path, "D4D_HOLD=soon\nD4D_IDENTITY=serial\n")


def test_a_misspelt_setting_in_the_file_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"unknown setting D4D_PARNET: did you mean D4D_PARENT\?"):
        from_file(tmp_path, "D4D_PARNET=eth0\n")


def test_a_setting_that_is_like_none_is_refused_with_all_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("D4D_QQQQQQ", "1")
    with pytest.raises(BadRequest, match=r"unknown setting D4D_QQQQQQ: known are .*D4D_HOLD"):
        load_settings(files=())


def test_other_programs_settings_are_not_ours(tmp_path: Path) -> None:
    assert from_file(tmp_path, "PARENT=eth0\nSTORE=redis\nDOCKER_OPTS=x\n") == load_settings(
        files=()
    )


def test_a_file_that_is_no_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "d4d.conf"
    path.write_bytes(b"D4D_HOST=\xff\xfe\n")
    with pytest.raises(BadRequest, match=r"d4d\.conf can't be read"):
        load_settings(files=(path,))


@pytest.mark.parametrize("policy", IdentityPolicy)
def test_each_identity_can_be_chosen(tmp_path: Path, policy: IdentityPolicy) -> None:
    assert from_file(tmp_path, f"D4D_IDENTITY={policy.value}\n").identity is policy


# Where the operator is served


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("unix:/run/d4d/a.sock", "unix:/run/d4d/a.sock"),
        ("127.0.0.1:8053", "127.0.0.1:8053"),
        ("[::1]:8053", "[::1]:8053"),
        ("off", "off"),
    ],
)
def test_the_operator_is_served_at_a_socket_an_address_or_nowhere(
    tmp_path: Path, text: str, printed: str
) -> None:
    assert str(from_file(tmp_path, f"D4D_ADMIN_BIND={text}\n").admin_bind) == printed


@pytest.mark.parametrize("text", ["unix:a.sock", "8053", "localhost:8053", "127.0.0.1:0", "/a"])
def test_what_is_no_place_to_serve_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRequest, match="D4D_ADMIN_BIND: "):
        from_file(tmp_path, f"D4D_ADMIN_BIND={text}\n")


def test_an_address_that_other_hosts_reach_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"D4D_ADMIN_BIND: .*set D4D_ADMIN_TOKEN as well"):
        from_file(tmp_path, "D4D_ADMIN_BIND=0.0.0.0:8053\n")
    settings = from_file(
        tmp_path, "D4D_ADMIN_BIND=0.0.0.0:8053\nD4D_ADMIN_TOKEN=0123456789abcdef\n"
    )
    assert settings.admin_bind.is_public
    assert "0123456789abcdef" not in repr(settings)


# The webhook


@pytest.mark.parametrize(
    "url", ["ftp://example.net/k3y", "example.net/k3y", "https:///k3y", "https://[x/k3y"]
)
def test_a_webhook_needs_a_url_of_http_which_is_not_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadRequest, match=r"D4D_WEBHOOK_URL: .*is no URL") as refused:
        from_file(tmp_path, f"D4D_WEBHOOK_URL={url}\n")
    assert "k3y" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://example.net", "https://example.net"),
        ("https://example.net/", "https://example.net"),
        ("http://u:k3y@example.net:8080", "http://example.net:8080"),
        ("https://example.net/hooks/k3y", "https://example.net/***"),
        ("https://example.net?key=k3y", "https://example.net/***"),
    ],
)
def test_a_webhooks_url_and_secret_are_not_printed(tmp_path: Path, url: str, printed: str) -> None:
    settings = from_file(tmp_path, f"D4D_WEBHOOK_URL={url}\nD4D_WEBHOOK_SECRET=0123456789abcdef\n")
    assert settings.webhook_url is not None and settings.webhook_url.secret == url
    assert shown(settings, "webhook_url") == printed
    assert "0123456789abcdef" not in shown(settings, "webhook_secret")
    assert "k3y" not in repr(settings) and "0123456789abcdef" not in repr(settings)


@pytest.mark.parametrize("in_environment", [None, "", "/run/a.sock"])
@pytest.mark.parametrize(
    ("seeds", "ours"),
    [
        ("", ""),
        ("D4D_PLUGIN_SOCKET=/run/b.sock\n", ""),
        ("D4D_PLUGIN_SOCKET=/run/b.sock\n", "D4D_PLUGIN_SOCKET=\n"),
        ("D4D_PLUGIN_SOCKET=/run/b.sock\n", "export d4d_plugin_socket='/run/c.sock' # ours\n"),
        ("", "D4D_PLUGIN_SOCKET=/run/c.sock\nd4d_plugin_socket=/run/d.sock\n"),
        ("", "HERE=/run\nD4D_PLUGIN_SOCKET=${HERE}/e.sock\n"),
    ],
)
def test_the_plugin_socket_is_read_early_as_it_is_read_with_the_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_environment: str | None,
    seeds: str,
    ours: str,
) -> None:
    files = (tmp_path / "seeds.conf", tmp_path / "d4d.conf")
    for path, text in zip(files, (seeds, ours), strict=True):
        path.write_text(text)
    if in_environment is not None:
        monkeypatch.setenv("D4D_PLUGIN_SOCKET", in_environment)
    assert plugin_socket(files=files) == load_settings(files=files).plugin_socket
