"""Just enough of the WebDriver protocol (https://www.w3.org/TR/webdriver2/) to look at a page in headless Chromium."""

import base64
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def browser(width=1500, height=1000, flags=()):
    """A page in a fresh profile; `flags` of Chromium besides the usual ones."""
    port = free_port()
    driver = subprocess.Popen([CHROMEDRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        page = None
        try:
            page = Page(port, [*FLAGS, *flags, f"--window-size={width},{height}", f"--user-data-dir={profile}"])
            yield page
        finally:
            if page:
                page.close()
            driver.kill()  # its browser is closed; asked to terminate, it sometimes never does
            driver.wait()


class Page:
    """One browser window."""

    def __init__(self, port, flags):
        self._base = f"http://127.0.0.1:{port}"
        options = {"binary": CHROMIUM, "args": flags}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self._session = wait_for(lambda: self._send("POST", "/session", wanted), 60, "chromedriver")["sessionId"]

    def open(self, url):
        self._do("POST", "/url", {"url": url})

    def text(self):
        """All text that the page shows."""
        return self.run("return document.body.innerText")

    def run(self, script, *arguments):
        """The value of a script in the page."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait_for_text(self, *texts, seconds=120, reload=True):
        """Wait until the page shows every one of `texts`, loading it again twice."""
        start, loads = time.monotonic(), 1

        def shown():
            nonlocal loads
            if reload and time.monotonic() - start > loads * seconds / 3:
                loads += 1
                self._do("POST", "/refresh", {})
            return all(text in self.text() for text in texts)

        wait_for(shown, seconds, f"{texts} on the page")

    def click_text(self, text, tags="button,a,[role=button],[role=tab]", seconds=30):
        """Click the first visible element whose text is, or else begins with, `text`."""
        script = """
            const all = [...document.querySelectorAll(arguments[1])].filter(e => e.offsetParent && e.innerText);
            const named = all.filter(e => e.innerText.trim() === arguments[0]);
            const found = named.find(e => !named.some(other => other !== e && e.contains(other)))
                || all.find(e => e.innerText.trim().startsWith(arguments[0]));
            if (!found) return false;
            found.scrollIntoView({block: "center"});
            found.click();
            return true;"""
        wait_for(lambda: self.run(script, text, tags), seconds, f"something called {text!r} to click")

    def press(self, xpath, seconds=60):
        """Click an element as a mouse does, which menus want, as soon as it is there and nothing covers it."""

        def pressed():
            (found,) = self._do("POST", "/elements", {"using": "xpath", "value": xpath})[:1] or [{}]
            for element in found.values():
                self._do("POST", f"/element/{element}/click", {})
            return bool(found)

        wait_for(pressed, seconds, f"{xpath} to press")

    def look_into_frame(self):
        """Let what follows concern the first frame of the page, of whatever site."""
        self._do("POST", "/frame", {"id": 0})

    def screenshot(self, path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self._do("GET", "/screenshot")))

    def close(self):
        self._do("DELETE", "")

    def _do(self, method, path, content=None):
        return self._send(method, f"/session/{self._session}{path}", content)

    def _send(self, method, path, content=None):
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]


def wait_for(attempt, seconds, what):
    """The first true value of `attempt`, tried for `seconds`, at first often."""
    end, pause = time.monotonic() + seconds, 0.02
    while True:
        try:
            value = attempt()
            if value:
                return value
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s for {what}") from error
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(pause)
        pause = min(0.5, 1.5 * pause)
