"""A real headless Chromium, spoken to over its debugging pipe."""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ANSWER_S = 30.0

CONTRASTS = """(() => {
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const ground = node => {
        for (; node; node = node.parentElement) {
            const colour = numbers(getComputedStyle(node).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.5) return colour;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll('body *')].filter(node => node.checkVisibility()
        && [...node.childNodes].some(child => child.nodeType === 3 && child.textContent.trim()));
    return texts.map(node => {
        const [a, b] = [light(numbers(getComputedStyle(node).color)), light(ground(node))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.id || node.className || node.tagName];
    });
})()"""

PLACE = """(() => {
    const node = document.querySelector(%s);
    if (!node?.checkVisibility()) return {hit: false, why: 'it is not there'};
    if (document.readyState !== 'complete') return {hit: false, why: 'the page is not there yet'};
    const look = () => {
        const box = node.getClientRects()[0] ?? node.getBoundingClientRect();
        const [x, y] = [box.x + box.width * %s, box.y + box.height / 2];
        const top = document.elementFromPoint(x, y);
        return {x, y, hit: Boolean(top) && node.contains(top), why: top ? top.outerHTML.slice(0, 80) : 'out of sight'};
    };
    const found = look();
    if (found.hit) return found;
    node.scrollIntoView({block: 'center', behavior: 'instant'});
    return look();
})()"""
"""Where a finger would touch an element, brought into sight where it is not; whether nothing lies over it."""


class Chromium:
    """A headless browser on its debugging pipe: JSON messages that end with a zero byte."""

    def __init__(self, program: str, profile: Path) -> None:
        command_out, self._write = os.pipe()
        self._read, answer_in = os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
            "--disable-background-networking --disable-component-update --disable-sync "
            "--disable-dev-shm-usage --remote-debugging-pipe"
        )
        # The browser wants its pipe at the descriptors 3 and 4.
        pipe = f"3<&{command_out} 4>&{answer_in}"
        command = f'exec "{program}" {flags} --user-data-dir="{profile}" about:blank {pipe}'
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(command_out, answer_in), stderr=subprocess.DEVNULL
        )
        os.close(command_out)
        os.close(answer_in)
        self._sent = 0
        self._rest = b""
        self.noticed: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.on_page(f"{domain}.enable")

    def call(self, method: str, session: str = "", **fields: object) -> Any:
        self._sent += 1
        message = {
            "id": self._sent,
            "method": method,
            "params": fields,
            **({"sessionId": session} if session else {}),
        }
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            answer = self._next()
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]
            self.noticed.append(answer)
        raise AssertionError(f"no answer to {method}")

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def on_page(self, method: str, **fields: object) -> Any:
        return self.call(method, self._session, **fields)

    def resize(self, width: int, height: int) -> None:
        self.on_page(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    def open(self, url: str, width: int = 1280, height: int = 800) -> None:
        self.resize(width, height)
        self.on_page("Page.navigate", url=url)
        self.wait_for(f"location.href === {json.dumps(url)} && document.readyState !== 'loading'")

    def evaluate(self, expression: str) -> Any:
        answer = self.on_page(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        # A page that is being replaced has no body for a moment: then it is not true yet.
        while not self.evaluate(f"(() => {{ try {{ return ({expression}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key, by the name that the page hears."""
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        self.on_page("Input.dispatchKeyEvent", type="keyDown", key=key, **({"text": text} if text else {}))
        self.on_page("Input.dispatchKeyEvent", type="keyUp", key=key)

    def by_touch(self, on: bool = True) -> None:
        """Whether the page hears of a touch screen, and gets fingers for a mouse."""
        self.on_page("Emulation.setTouchEmulationEnabled", enabled=on)
        self.on_page("Emulation.setEmitTouchEventsForMouse", enabled=False)

    def tap(self, selector: str, across: float = 0.5) -> None:
        """Touch an element with a finger, as far across it as said; nothing may lie over that place."""
        deadline, before = time.monotonic() + ANSWER_S, None
        while not (found := self.evaluate(PLACE % (json.dumps(selector), across)))["hit"] or found != before:
            assert time.monotonic() < deadline, f"{selector} cannot be touched: {found}"
            before = found
        place = {"x": found["x"], "y": found["y"]}
        self.on_page("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
        self.on_page("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, whole: bool = False) -> bytes:
        shot = self.on_page("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(shot["data"])

    def complaints(self) -> list[str]:
        """Errors in the console, exceptions, and what the security policy refused."""
        self.evaluate("1")  # what happened before it has been heard of after it
        found = []
        for message in self.noticed:
            entry = message.get("params", {}).get("entry", {})
            if message.get("method") == "Runtime.exceptionThrown" or entry.get("level") == "error":
                found.append(json.dumps(message["params"]))
        return found

    def requested(self) -> list[str]:
        return [
            one["params"]["request"]["url"]
            for one in self.noticed
            if one.get("method") == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(20)


def open_chromium(profile: Path) -> Chromium:
    """Start one with a profile of its own; skips where none is installed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed")
    return Chromium(program, profile)
