"""A browser for tests."""

import base64
import json
import os
import shutil
import subprocess
import time
from itertools import count
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """Chromium without a window, spoken to over a pipe by its DevTools protocol."""

    def __init__(self, profile: Path):
        (read, self.write), (self.read, write) = os.pipe(), os.pipe()

        def wire():  # what Chromium reads is its descriptor 3, what it writes 4
            ours = os.dup(read), os.dup(write)
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        words = [
            "--headless",
            "--no-sandbox",
            "--enable-unsafe-swiftshader",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        self.process = subprocess.Popen(
            [CHROMIUM, *words, "--window-size=1400,1000"], stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=wire
        )
        os.close(read)
        os.close(write)
        self.numbers, self.rest, self.events, self.session = count(1), b"", [], {}
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Log", "Network", "Runtime"):
            self.ask(f"{domain}.enable")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.write)
        os.close(self.read)

    def ask(self, method, **params):
        number = next(self.numbers)
        os.write(
            self.write, json.dumps({"id": number, "method": method, "params": params, **self.session}).encode() + b"\0"
        )
        while (message := self.message()).get("id") != number:
            self.events.append(message)
        return message["result"]

    def message(self):
        while b"\0" not in self.rest:
            part = os.read(self.read, 1 << 20)
            assert part, "Chromium ended"
            self.rest += part
        first, _, self.rest = self.rest.partition(b"\0")
        return json.loads(first)

    def open(self, url: str):
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return found["result"].get("value", found.get("exceptionDetails"))

    def picture(self, file: Path):
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def until(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < end, (expression, self.events)
            time.sleep(0.1)

    def drag(self, x, y):
        for kind, step in [
            ("mouseMoved", 0),
            ("mousePressed", 0),
            *(("mouseMoved", i) for i in range(1, 6)),
            ("mouseReleased", 5),
        ]:
            where = {"x": x + 20 * step, "y": y + 8 * step, "button": "left", "buttons": 1, "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, **where)
            time.sleep(0.1)

    def refused(self):
        """What the policy refused, and what was asked of another place than the document itself."""
        told = [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [t for t in told if "Content Security Policy" in t], [
            u for u in asked if not u.startswith(("file:", "data:", "blob:"))
        ]
