"""Images of the page for the docs, by a headless Chromium.

    varbench report --out page --concept face-ada --method svare,vare,esd,salun,nft-distill
    python benchmarks/screenshots.py page/index.html docs/images

writes ``report.png`` (desktop), ``report-dark.png`` and ``report-phone.png``. Nothing is uncovered.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SHOTS = {
    "report": ({"width": 1280, "height": 2450}, "light"),
    "report-dark": ({"width": 1280, "height": 1500}, "dark"),
    "report-phone": ({"width": 375, "height": 1500}, "light"),
}


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("page", type=Path, help="index.html of a report")
    parser.add_argument("out", type=Path, help="folder for the images")
    parser.add_argument("--whole", action="store_true", help="the whole length of the page")
    args = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        parser.error("no Chromium: install it, or name it in CHROMIUM")
    args.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (size, scheme) in SHOTS.items():
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(args.page.resolve().as_uri())
            page.screenshot(path=args.out / f"{name}.png", full_page=args.whole)
            sys.stdout.write(f"wrote {args.out / name}.png\n")
        browser.close()


if __name__ == "__main__":
    main()
