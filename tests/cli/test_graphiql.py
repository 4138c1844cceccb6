"""GraphiQL in a real Chromium, with the demo data that `make run` serves."""

import json
import re
import shutil

import pytest

from gateway import explorer
from tests import node
from tests.cli.siso import Siso

SHORT_LIVED = {"GATEWAY_ACCESS_TOKEN_LIFETIME": "20"}
CHROMIUM = ("chromium", "chromium-headless-shell", "google-chrome")


def _find_chromium() -> str:
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    pytest.fail("Chromium is missing: apt install chromium")


async def test_using_graphiql(unmigrated: Siso) -> None:
    """The console stays empty, and the page sends requests only to the gateway.

    The lifetime of access tokens is so short that the page must refresh them before each operation of a user who has
    signed in with a password.
    """
    chromium = _find_chromium()
    if not (explorer.DIST / "index.html").exists():
        pytest.fail("GraphiQL is not built: run `make explorer`.")
    folder = node.install_packages(node.ROOT / "tests" / "browser")
    with unmigrated.serving("--demo", **SHORT_LIVED) as served:
        seen = await node.run(folder, "explorer.mjs", served.url, chromium)
    assert (seen["consoleMessages"], seen["hosts"]) == ([], [served.url])
    assert set(seen["workers"]) == {served.url}
    assert seen["title"] == "siso-gateway"
    signed_in = [seen[step] for step in ("anonymous", "demo", "password", "end")]
    assert signed_in == [None, "admin@example.com", "new@example.com", None]
    assert seen["left"] is None
    assert seen["tasks"]["totalCount"] > len(seen["tasks"]["nodes"]) == 10
    assert seen["made"]["userErrors"] == []
    assert re.search(r"^Enter this code:\s+[\w-]{43}$", seen["mail"], re.MULTILINE)
    assert seen["signInError"] == "The e-mail address or the password is wrong."
    assert seen["operations"].count("Refresh") > 1
    assert seen["ended"] == {"data": {"signOut": {"userErrors": []}}}
    assert seen["header"] == "from-the-editor"
    assert (seen["docs"], seen["explorer"]) == ("Query", "overdueTasks")
    assert seen["stream"] == "text/event-stream; charset=utf-8"
    delivered = json.loads(seen["delivered"].replace("\xa0", " "))["data"]["taskChanged"]
    assert (delivered["eventType"], delivered["task"]["title"]) == ("TaskCreated", "Created elsewhere")
    tabs = ["Welcome", "WhoAmI", "OpenTasks", "WhoAmI", "SignUp", "TaskChanges", "WhoAmI"]
    assert seen["tabsAgain"] == seen["tabs"] == tabs
    assert "eyJ" not in seen["kept"]
    assert (seen["light"]["editors"], seen["dark"]["editors"]) == (0, 1)
    assert seen["light"]["page"] != seen["dark"]["page"]


def test_a_publicly_reachable_demo_offers_no_accounts(unmigrated: Siso) -> None:
    """One of the demo users is an admin."""
    for host, offered in (("0.0.0.0", 0), ("127.0.0.1", 4)):  # noqa: S104 (the test is about this address)
        with unmigrated.serving("--demo", "--host", host) as served:
            start = served.get("/explorer/start", Host="localhost")
            assert (len(start["accounts"]), len(start["examples"]) > 0) == (offered, True)
