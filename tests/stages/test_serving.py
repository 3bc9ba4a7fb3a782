"""A served student answers what `litemkd predict` says, by the very commands of docs/models.md."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.job import ROOT, Home, Job
from tests.stages.test_predict import clips_of, table

TEXT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
PORT = "5001"  # in the document


def block(mark: str) -> str:
    """The code between two marks of the document."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```\n<!-- /{mark} -->", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def place(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`examples` and `clips` as in the document."""
    root = tmp_path_factory.mktemp("serving")
    for one, clips in clips_of(job.home).items():
        for number, clip in enumerate(clips):
            folder = root / "examples" / one if number < 2 else root / "clips"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{clip}.mp4").symlink_to(job.home.data / "videos" / one / f"{clip}.mp4")
    return root


@pytest.fixture(scope="module")
def address(job: Job) -> Iterator[str]:
    """The server that the document starts, at another port."""
    (line,) = re.findall(r"^mlflow (models serve .*)$", TEXT, re.MULTILINE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    words = [port if word == PORT else word for word in shlex.split(line)]
    assert words[words.index("--host") + 1] == "127.0.0.1"
    log = job.home.folder / "serve.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=job.home.folder,
            env={
                **os.environ,
                "MLFLOW_TRACKING_URI": job.home.store,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(400):
            time.sleep(0.5)
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            except OSError:
                continue
            break
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def post(address: str, body: bytes) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"http://{address}/invocations", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_curl_line_gives_what_predict_says(
    job: Job, place: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    exec(compile(block("question"), "docs/models.md", "exec"), {})
    line = block("curl").replace(f"127.0.0.1:{PORT}", address)
    assert address in line
    if shutil.which("curl"):
        done = subprocess.run(shlex.split(line), cwd=place, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
    else:
        answer = post(address, (place / "question.json").read_bytes())[1]

    home: Home = job.home
    words = (
        "--support",
        str(place / "examples"),
        "--query",
        str(place / "clips"),
        "--out",
        str(place / "t.csv"),
    )
    home.must("predict", *words)
    _, wanted = table(place / "t.csv")
    np.testing.assert_allclose(np.array(answer["predictions"]), wanted, atol=1e-5)


def test_pictures_and_mistakes(place: Path, address: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    import base64

    def text(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    clips = [(one, clip) for one, names in clips_of(job.home).items() for clip in names[:2]]
    videos = [text(job.home.data / "videos" / one / f"{clip}.mp4") for one, clip in clips]
    frames = [
        [text(file) for file in sorted((job.home.data / "rgb_l8" / one / clip).glob("*.jpg"))]
        for one, clip in clips
    ]
    labels = [0, -1, 1, -1, 2, -1]
    answers = [
        post(address, json.dumps({"inputs": {kind: value, "labels": labels}}).encode())
        for kind, value in (("videos", videos), ("frames", frames))
    ]
    assert [status for status, _ in answers] == [200, 200]
    numbers = [np.array(answer["predictions"]) for _, answer in answers]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=1e-5)
    np.testing.assert_allclose(numbers[0].sum(1), 1, atol=1e-5)

    playlist = base64.b64encode(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n").decode()
    for inputs, told in (
        ({"videos": ["%%", *videos[1:]], "labels": labels}, "videos, clip 0: not base64"),
        ({"videos": [playlist, *videos[1:]], "labels": labels}, "cannot read video"),
        ({"videos": videos, "labels": labels[1:]}, "labels: shape"),
        (
            {"videos": videos, "labels": [0, -1, 0, -1, 2, -1]},
            "class 1 of episode 0 in the batch has no support",
        ),
        ({"frames": [row[:5] for row in frames], "labels": labels}, "frames: shape (6, 5)"),
        ({"clips": videos}, "a mapping with `frames` and `labels` would do"),
    ):
        status, answer = post(address, json.dumps({"inputs": inputs}).encode())
        assert status == 400
        assert told in str(answer["message"]), answer
        assert len(str(answer["message"])) < 1000
