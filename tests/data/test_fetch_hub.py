"""`varbench fetch` from the hub: the real client and command against a stand-in for the hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from varbench.data.published.catalog import known
from varbench.data.published.data_folder import local_path, receipt, verify
from varbench.data.published.download import FetchError
from varbench.data.published.fetch import fetch

SET = known()["ring-a-bell-nudity"]
COMMIT = "a" * 40
CONTENT = b"prompt,evaluation_seed\na gibberish,1\nb gibberish,2\n"


@dataclass
class Hub:
    """A hub with one dataset.

    Attributes:
        address: of the hub.
        files: the dataset's files; all have the same content.
        token: who shows another one, or none, is not let in; "" lets everybody in.
    """

    address: str = ""
    files: tuple[str, ...] = ("README.md", "nudity.csv")
    token: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    shown = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> bytes:
            dataset = f"/datasets/{SET.place}"
            body = b""
            if self.path.startswith(f"/api{dataset}"):
                files = [{"rfilename": name} for name in shown.files]
                body = json.dumps({"id": SET.place, "sha": COMMIT, "siblings": files}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
            elif self.path != f"{dataset}/resolve/{COMMIT}/nudity.csv":
                self.send_response(404)
            elif shown.token not in (self.headers.get("Authorization") or ""):
                self.send_response(401)
                self.send_header("X-Error-Code", "GatedRepo")
            else:
                body = CONTENT
                self.send_response(200)
                self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return body

        def do_GET(self) -> None:
            self.wfile.write(self.answer())

        def do_HEAD(self) -> None:
            self.answer()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shown
    server.shutdown()
    server.server_close()
    thread.join()


def run(hub: Hub, home: Path, token: str = "") -> subprocess.CompletedProcess[str]:
    """``varbench fetch`` of the set into ``home/data``."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home / "hub"),
        "VARBENCH_DATA": str(home / "data"),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-m", "varbench.cli", "fetch", SET.name],
        env=environment | ({"HF_TOKEN": token} if token else {}),
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_one_csv_file_is_taken_and_its_commit_kept(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 rows, 2 distinct prompts; 285 rows were expected" in done.stdout
    assert "not pinned: no copy was at hand" in done.stderr
    assert local_path(SET, tmp_path / "data").read_bytes() == CONTENT
    kept = receipt(SET, tmp_path / "data")
    assert kept["revision"] == COMMIT and kept["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert verify(SET, tmp_path / "data") is None


def test_a_gated_set_is_explained_and_opens_to_those_let_in(hub: Hub, tmp_path: Path) -> None:
    hub.token = "hf_let_in"
    done = run(hub, tmp_path)
    assert done.returncode == 2 and f"{SET.page} lets in only those it knows" in done.stderr
    assert done.stderr.count(SET.gated or "?") == 2, "before the attempt, and in the error"
    assert verify(SET, tmp_path / "data") == "missing"
    assert run(hub, tmp_path, "hf_let_in").returncode == 0
    assert verify(SET, tmp_path / "data") is None


def test_several_files_are_a_question_for_the_user(hub: Hub, tmp_path: Path) -> None:
    hub.files = ("a.csv", "nudity.csv")
    done = run(hub, tmp_path)
    assert done.returncode == 2 and "has 2 files '*.csv' among a.csv, nudity.csv" in done.stderr
    assert f"varbench fetch {SET.name} --from FOLDER" in done.stderr


def test_no_connection_is_an_error_with_the_fix(tmp_path: Path) -> None:
    """The tests run with HF_HUB_OFFLINE, which the hub's own client heeds."""
    with pytest.raises(FetchError, match=r"joycenerd/p4d could not be fetched.*--from FOLDER"):
        fetch(known()["p4d"], tmp_path)
