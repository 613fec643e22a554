"""The finished site in a real browser, served and opened as files, without a network.

What depends on how pages are loaded (scripts, images, formulas, storage, search, files
to save) is tested both from a server and from files; what only depends on the pages,
from files alone.

``CAEBOOK_SITE`` names the folder of a site other than the smoke book's. Without an
installed Chromium these tests are skipped; if ``CI`` is set they fail instead.
"""

import csv
import functools
import http.server
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup

from caebook.files import root
from caebook.page import table

sync_api = pytest.importorskip("playwright.sync_api")

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


def unavailable(reason: str) -> None:
    """Skip, or fail where the browser tests must run."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


# ---- the site and the browser -------------------------------------------------------


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Path:
    """Folder of the finished site: the one named, or else the smoke book's."""
    if name := os.environ.get("CAEBOOK_SITE"):
        folder = Path(name).resolve()
    else:
        folder = request.getfixturevalue("smoke_book") / "html"
    if not (folder / "index.html").is_file():
        pytest.fail(f"the site in {folder} has no index.html", pytrace=False)
    return folder


@pytest.fixture(scope="session")
def pages(site: Path) -> list[str]:
    """Every page, relative to the site."""
    found = (path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    return sorted(name for name in found if not name.startswith("_"))  # templates


@pytest.fixture(scope="session")
def soups(site: Path, pages: list[str]) -> dict[str, BeautifulSoup]:
    """Every page, parsed."""
    return {
        page: BeautifulSoup((site / page).read_text(encoding="utf-8"), "html.parser")
        for page in pages
    }


@pytest.fixture(scope="session")
def executable() -> str:
    """An installed Chromium or Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    given = os.environ.get("CHROMIUM")
    found = (
        shutil.which(given)
        if given
        else next(filter(None, map(shutil.which, names)), None)
    )
    if not found:
        unavailable(
            "no Chromium or Chrome was found, so the browser tests did not run: "
            "install one, or set CHROMIUM to its path"
        )
    return found


@pytest.fixture(scope="session")
def playwright():
    with sync_api.sync_playwright() as running:
        yield running


def launch_arguments() -> list[str]:
    # Chromium refuses its sandbox to the superuser, as in many containers.
    return ["--no-sandbox"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def browser(playwright, executable: str):
    running = playwright.chromium.launch(
        executable_path=executable, args=launch_arguments()
    )
    yield running
    running.close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session", params=["http", "file"])
def address(request: pytest.FixtureRequest, site: Path) -> Iterator[str]:
    """Address of the site on a local server, and as files; ends in a slash."""
    if request.param == "file":
        yield f"{site.as_uri()}/"
        return
    handler = functools.partial(QuietHandler, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def folder(site: Path) -> str:
    """Address of the site as files; ends in a slash."""
    return f"{site.as_uri()}/"


@contextmanager
def opened(browser, viewport: dict = DESKTOP, **options):
    """A new page with storage of its own, closed in the end."""
    context = browser.new_context(viewport=viewport, **options)
    try:
        yield context.new_page()
    finally:
        context.close()


@dataclass
class Watch:
    """Errors of the pages that are open, and their requests to other places."""

    address: str
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def of(self, context) -> "Watch":
        """Watch a context's pages, and let no request leave the site."""
        context.route("**/*", self._route)
        context.on("page", self._page)
        return self

    def _route(self, route) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.elsewhere.append(url)
            route.abort()

    def _page(self, page) -> None:
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on("console", self._console)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)

    def _console(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.location.get('url')}: {message.text}")

    def _failed(self, request) -> None:
        if request.failure != "net::ERR_ABORTED":  # by opening the next page
            self.errors.append(f"failed: {request.url} ({request.failure})")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.errors.append(f"{response.status}: {response.url}")


# Waits for the formulas and all images, hidden ones included.
SETTLE = """async () => {
  await window.MathJax?.startup?.promise;
  await Promise.all([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode().catch(() => null);
  }));
}"""

LOOK = r"""() => {
  const article = document.querySelector("article, main"); // search has no article
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre, code, script, mjx-container").forEach((e) => e.remove());
  const formulas = [...article.querySelectorAll(".math")];
  return {
    images: [...document.images].map((image) => ({
      source: image.getAttribute("src"),
      alt: image.getAttribute("alt"),
      width: image.naturalWidth,
      // the launch buttons above a chapter are the theme's
      inArticle: article.contains(image) && !image.closest(".bd-header-article"),
    })),
    formulas: formulas.length,
    drawn: formulas.filter((e) => e.querySelector("mjx-container svg path, svg use"))
      .length,
    mistakes: article.querySelectorAll("[data-mml-node=merror]").length,
    raw: prose.textContent.match(/\\\(|\\\[|\$\$|\\begin\{/g) || [],
    cut: [...article.querySelectorAll(":has(> table:not(.sortable))")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1)
      .map((e) => e.textContent.slice(0, 60)),
  };
}"""


@pytest.fixture(scope="session")
def visit(browser, address: str, pages: list[str]) -> tuple[dict[str, dict], Watch]:
    """Open every page once: the content of each, and the errors on the way."""
    context = browser.new_context(viewport=DESKTOP)
    watch = Watch(address).of(context)
    page = context.new_page()
    seen = {}
    for name in pages:
        page.goto(address + name)
        page.evaluate(SETTLE)
        seen[name] = page.evaluate(LOOK)
        page.set_viewport_size(PHONE)
        seen[name]["overflow"] = page.evaluate(
            "document.documentElement.scrollWidth - window.innerWidth"
        )
        page.set_viewport_size(DESKTOP)
    context.close()
    return seen, watch


# ---- every page ---------------------------------------------------------------------


def test_no_page_reports_an_error(visit):
    assert visit[1].errors == []


def test_no_table_is_wider_than_the_page(visit):
    """But for the large ones that can be sorted; on a phone all may scroll."""
    assert {name: seen["cut"] for name, seen in visit[0].items() if seen["cut"]} == {}


def test_tables_are_counted_through_the_page(browser, folder, soups):
    """The numbers come from CSS: read them as a screen reader does."""
    for name in pages_with(soups, "table caption"):
        with opened(browser) as page:
            page.goto(folder + name)
            page.locator("details").evaluate_all("all => all.map((e) => e.open = 1)")
            session = page.context.new_cdp_session(page)
            tree = session.send("Accessibility.getFullAXTree")
            captions = page.locator("table caption:visible").count()
        texts = [n["name"]["value"] for n in tree["nodes"] if text_role(n)]
        numbers = [int(n) for word, n in pairwise(texts) if word == "Table "]
        assert sorted(numbers) == list(range(1, captions + 1)), name


def text_role(node: dict) -> bool:
    return node.get("role", {}).get("value") == "StaticText" and "name" in node


def test_no_request_leaves_the_site(visit):
    assert visit[1].elsewhere == []


def test_every_image_loads_and_has_an_alternative_text(visit):
    seen, _ = visit
    images = [(name, image) for name, page in seen.items() for image in page["images"]]
    assert any(image["inArticle"] for _, image in images), "no figure on any page"
    assert [entry for entry in images if entry[1]["width"] == 0] == []
    silent = [
        (name, image["source"])
        for name, image in images
        if image["alt"] is None
        or (image["inArticle"] and len(image["alt"].split()) < 3)
    ]
    assert silent == [], "figures whose alternative text has under three words"


def test_formulas_are_drawn_without_a_network(visit):
    seen, _ = visit
    assert sum(page["formulas"] for page in seen.values()) > 0
    for name, page in seen.items():
        assert page["drawn"] == page["formulas"], name
        assert page["mistakes"] == 0, f"{name}: MathJax could not read a formula"
        assert page["raw"] == [], f"{name}: TeX source shows"


def test_no_page_is_wider_than_a_phone(visit):
    seen, _ = visit
    assert {
        name: page["overflow"] for name, page in seen.items() if page["overflow"] > 0
    } == {}


# ---- tabs ---------------------------------------------------------------------------

CHOSEN = """() => [...document.querySelectorAll("article .sd-tab-set")]
  .filter((set) => set.querySelector("[data-sync-group=framework]"))
  .map((set) => set.querySelector(":scope > input:checked + label").innerText.trim())
"""


def pages_with_tabs(soups: dict[str, BeautifulSoup]) -> list[str]:
    return [
        name
        for name, soup in soups.items()
        if soup.select("article label[data-sync-group=framework]")
    ]


def choose(page, label: str) -> None:
    page.locator("article .sd-tab-set > label", has_text=label).first.click()


def test_tabs_come_in_pairs(soups):
    named = pages_with_tabs(soups)
    assert len(named) >= 2
    for name in named:
        for tab_set in soups[name].select("article .sd-tab-set"):
            labels = tab_set.find_all("label", attrs={"data-sync-group": "framework"})
            if labels:
                assert [label.text.strip() for label in labels] == [
                    "Keras",
                    "PyTorch",
                ], name


def test_a_choice_of_framework_holds_on_every_page(browser, address, soups):
    first, *others = pages_with_tabs(soups)
    with opened(browser) as page:
        page.goto(address + first)
        sets = page.evaluate(CHOSEN)
        assert set(sets) == {"Keras"}
        choose(page, "PyTorch")
        assert page.evaluate(CHOSEN) == ["PyTorch"] * len(sets)
        shown = page.locator("article .sd-tab-set").first.locator("> .sd-tab-content")
        assert [shown.nth(index).is_visible() for index in range(2)] == [False, True]
        page.reload()
        assert set(page.evaluate(CHOSEN)) == {"PyTorch"}
        for name in others:
            page.goto(address + name)
            assert set(page.evaluate(CHOSEN)) == {"PyTorch"}, name
        choose(page, "Keras")
        page.goto(address + first)
        assert set(page.evaluate(CHOSEN)) == {"Keras"}


def test_a_choice_of_framework_survives_the_browser(
    playwright, executable, address, soups, tmp_path
):
    first, second, *_ = pages_with_tabs(soups)

    def start():
        return playwright.chromium.launch_persistent_context(
            tmp_path, executable_path=executable, args=launch_arguments()
        )

    context = start()
    page = context.new_page()
    page.goto(address + first)
    choose(page, "PyTorch")
    page.wait_for_timeout(500)  # Chromium writes local storage in the background
    context.close()

    context = start()
    page = context.new_page()
    page.goto(address + second)
    assert set(page.evaluate(CHOSEN)) == {"PyTorch"}
    context.close()


def test_tabs_work_from_the_keyboard(browser, folder, soups):
    with opened(browser) as page:
        page.goto(folder + pages_with_tabs(soups)[0])
        page.locator("article .sd-tab-set > input").first.focus()
        page.keyboard.press("ArrowRight")
        assert set(page.evaluate(CHOSEN)) == {"PyTorch"}


# ---- dark mode, search, solutions ---------------------------------------------------

STYLES = """() => [...document.querySelectorAll("article img")].map((image) => {
  const style = getComputedStyle(image);
  let filters = style.filter;
  for (let e = image.parentElement; e; e = e.parentElement)
    filters += " " + getComputedStyle(e).filter;
  return [filters, style.opacity, style.mixBlendMode, style.backgroundColor];
})"""


def test_figures_keep_their_grey_values_in_dark_mode(browser, folder, soups):
    with opened(browser, color_scheme="dark") as page:
        for name in pages_with(soups, "article img"):
            page.goto(folder + name)
            assert page.evaluate("document.documentElement.dataset.theme") == "dark"
            for filters, opacity, blend, background in page.evaluate(STYLES):
                assert set(filters.split()) == {"none"}, name
                assert (opacity, blend) == ("1", "normal"), name
                assert background == "rgb(255, 255, 255)", name


def test_search_finds_pages(browser, address):
    context = browser.new_context(viewport=DESKTOP)
    watch = Watch(address).of(context)
    page = context.new_page()
    page.goto(address + "index.html")
    page.locator("button.search-button-field, button.search-button__button").locator(
        "visible=true"
    ).first.click()
    page.locator("dialog input[type=search]").fill("reconstruction")
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    results.first.wait_for()
    page.locator("#search-results .search-summary", has_text="finished").wait_for()
    target = results.first.get_attribute("href")
    results.first.click()
    page.wait_for_load_state()
    assert urlsplit(target).path.split("/")[-1] in page.url
    assert watch.errors == []
    assert watch.elsewhere == []
    context.close()


def test_solutions_open(browser, folder, soups):
    named = [
        name
        for name, soup in soups.items()
        if any("Solution" in e.text for e in soup.select("article details summary"))
    ]
    assert named, "no page has a worked solution"
    with opened(browser) as page:
        for name in named:
            page.goto(folder + name)
            details = page.locator("article details", has_text="Solution")
            solution = details.locator("visible=true").first
            body = solution.locator("> :not(summary)").first
            assert not body.is_visible(), name
            solution.locator("summary").first.click()
            assert body.is_visible(), name


# ---- tables that can be sorted, files to save ---------------------------------------

SORTABLE = ".cell_output table.sortable"

# The texts of a column, from the top, and the order that its header announces.
COLUMN = """(table, name) => {
  const headers = [...table.tHead.rows[0].cells];
  const index = headers.findIndex((header) => header.textContent.trim() === name);
  return [
    [...table.tBodies[0].rows].map((row) => row.cells[index].textContent),
    headers[index].getAttribute("aria-sort"),
  ];
}"""


def page_with(browser, rows: list[dict]):
    """Open a page with a sortable and a plain table, the site's style and script."""
    static = root() / "book" / "_static"
    page = browser.new_page(viewport=PHONE)
    page.goto("about:blank")
    page.set_content(
        f"<!doctype html><html lang=en><style>{(static / 'book.css').read_text()}"
        "</style><main class=bd-article><div class=cell_output>"
        f"{table(rows, sortable=True)._repr_html_()}"
        f"{table(rows)._repr_html_()}</div></main>"
        f"<script>{(static / 'sortable.js').read_text()}</script></html>"
    )
    return page


def sort_by(page, name: str, times: int = 1):
    """Click a header; return its column's texts and the order that it announces."""
    found = page.locator("table.sortable")
    for _ in range(times):
        found.get_by_role("button", name=name, exact=True).click()
    return found.evaluate(COLUMN, name)


def test_numbers_sort_by_their_full_value(browser):
    values = [12_544, 9.00001, None, 1e-5, 9.00002, -3, 8.03e-05]
    page = page_with(browser, [{"run": f"r{n}", "x": v} for n, v in enumerate(values)])
    rising = ["-3", "1e-05", "8.03e-05", "9", "9", "12,544", "–"]
    assert sort_by(page, "x") == [rising, "ascending"]
    names, _ = page.locator("table.sortable").evaluate(COLUMN, "run")
    assert names == ["r5", "r3", "r6", "r1", "r4", "r0", "r2"]
    falling = [*rising[-2::-1], "–"]
    assert sort_by(page, "x") == [falling, "descending"]
    names, _ = page.locator("table.sortable").evaluate(COLUMN, "run")
    assert names == ["r0", "r4", "r1", "r6", "r3", "r5", "r2"]
    given = ["12,544", "9", "–", "1e-05", "9", "-3", "8.03e-05"]
    assert sort_by(page, "x") == [given, None]
    page.close()


def test_sorting_is_by_one_column_and_keeps_the_order_of_equal_rows(browser):
    rows = [
        {"run": "a", "framework": "PyTorch", "n": 2},
        {"run": "b", "framework": "Keras", "n": 1},
        {"run": "c", "framework": "PyTorch", "n": 1},
        {"run": "d", "framework": "Keras", "n": 2},
        {"run": "e", "framework": "Keras", "n": 1},
    ]
    page = page_with(browser, rows)
    sort_by(page, "framework")
    sort_by(page, "n")
    names, announced = page.locator("table.sortable").evaluate(COLUMN, "run")
    assert (names, announced) == (["b", "e", "c", "d", "a"], None)
    assert page.locator("th[aria-sort]").count() == 1
    sort_by(page, "n")  # falling; equal rows still as they stood
    names, _ = page.locator("table.sortable").evaluate(COLUMN, "run")
    assert names == ["d", "a", "b", "e", "c"]
    _, announced = sort_by(page, "n")
    names, _ = page.locator("table.sortable").evaluate(COLUMN, "run")
    assert (names, announced) == (["a", "b", "c", "d", "e"], None)
    page.close()


def test_order_of_texts_infinities_and_mixed_columns(browser):
    values = ["level 10", float("inf"), None, "Level 2", -float("inf"), "", 5, "äh"]
    page = page_with(browser, [{"run": f"r{n}", "x": v} for n, v in enumerate(values)])
    rising = ["-inf", "5", "inf", "", "äh", "Level 2", "level 10", "–"]
    assert sort_by(page, "x")[0] == rising
    assert sort_by(page, "x")[0] == [*rising[-2::-1], "–"]
    page.close()


def test_tables_sort_from_the_keyboard_and_announce_the_order(browser):
    page = page_with(browser, [{"run": "b", "n": 1}, {"run": "a", "n": 2}])
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    head = page.get_by_role("columnheader", name="n", exact=True).first
    assert head.locator("button").evaluate("e => e === document.activeElement")
    outline = "e => getComputedStyle(e).outlineStyle"
    assert head.locator("button").evaluate(outline) != "none"
    for key, direction in (("Enter", "ascending"), ("Space", "descending")):
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == direction
        assert head.locator("button").evaluate("e => e === document.activeElement")
    assert page.locator("table.sortable tbody th").first.inner_text() == "a"
    page.close()


def test_plain_and_empty_tables_get_no_buttons(browser):
    page = page_with(browser, [])
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    assert page.locator("button").count() == 0
    page.close()
    page = page_with(browser, [{"run": "a"}])
    assert page.locator("table:not(.sortable) button").count() == 0
    assert page.locator("table.sortable button").count() == 1
    assert errors == []
    page.close()


def pages_with(soups: dict[str, BeautifulSoup], selector: str) -> list[str]:
    found = [name for name, soup in soups.items() if soup.select(selector)]
    assert found, f"no page has {selector}"
    return found


def test_every_column_of_the_book_can_be_sorted(browser, folder, soups):
    with opened(browser) as page:
        for name in pages_with(soups, SORTABLE):
            page.goto(folder + name)
            for number, soup in enumerate(soups[name].select(SORTABLE)):
                shown = page.locator(SORTABLE).nth(number)
                for index, header in enumerate(soup.select("thead th")):
                    sort_and_check(shown, soup, index, f"{name}: {header.text}")


def sort_and_check(shown, soup: BeautifulSoup, index: int, where: str) -> None:
    """Sort a table by a column: no value is lost, and numbers rise, gaps last."""
    cells = [row.find_all(["th", "td"])[index] for row in soup("tr")[1:]]
    shown.locator("thead button").nth(index).click()
    after = shown.locator(f"tbody tr > :nth-child({index + 1})")
    texts = after.evaluate_all("all => all.map((e) => e.textContent)")
    assert sorted(texts) == sorted(cell.text for cell in cells), where
    full = [cell.get("data-value") for cell in cells]
    if None not in full:  # numbers, and perhaps cells without one
        numbers = sorted(float(value) for value in full if value)
        values = after.evaluate_all("all => all.map((e) => e.dataset.value)")
        gaps = [""] * (len(full) - len(numbers))
        assert [float(value) for value in values if value] == numbers, where
        assert values[len(numbers) :] == gaps, where


def test_a_wide_table_can_be_read_on_a_phone(browser, folder, soups):
    with opened(browser, PHONE) as page:
        for name in pages_with(soups, SORTABLE):
            page.goto(folder + name)
            for number in range(len(soups[name].select(SORTABLE))):
                check_on_phone(page.locator(SORTABLE).nth(number), page.keyboard, name)
            wide = "document.documentElement.scrollWidth - window.innerWidth"
            assert page.evaluate(wide) <= 0, name


def check_on_phone(shown, keyboard, where: str) -> None:
    """The focused header is in sight, beside the first column, which stays."""
    frame = shown.locator("..").bounding_box()
    assert frame["width"] <= PHONE["width"]
    buttons = shown.locator("thead button")
    buttons.first.focus()
    steps = buttons.count() - 1
    for key in ["Tab"] * steps + ["Shift+Tab"] * (steps - 1):
        keyboard.press(key)
        first = shown.locator("tbody th").first.bounding_box()
        assert abs(first["x"] - frame["x"]) <= 1, where
        assert first["width"] < 0.55 * frame["width"], where
        box = shown.locator("button:focus").bounding_box()
        assert box["x"] >= first["x"] + first["width"] - 1, where
        assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1, where


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_column_that_stays_is_opaque_and_legible(browser, folder, soups, scheme):
    name = pages_with(soups, SORTABLE)[0]  # every table has the same style sheet
    with opened(browser, color_scheme=scheme) as page:
        page.goto(folder + name)
        styles = page.locator(f"{SORTABLE} tr > :first-child").evaluate_all(
            """all => all.map((cell) => {
              const style = getComputedStyle(cell);
              return [style.position, style.backgroundColor, style.color];
            })"""
        )
    assert styles
    for position, background, ink in {tuple(style) for style in styles}:
        assert position == "sticky"
        assert contrast(rgb(background), rgb(ink)) > 7, (background, ink)


def rgb(color: str) -> tuple[float, ...]:
    """Red, green and blue of an opaque colour, as browsers write it."""
    match = re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color)
    assert match, color
    return tuple(int(part) for part in match.groups())


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2 defines it."""

    def luminance(color):
        parts = [part / 255 for part in color]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4
                  for p in parts]  # fmt: skip
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, (first, second)))
    return (light + 0.05) / (dark + 0.05)


def test_without_scripts_a_table_stays_as_it_is(browser, folder, soups):
    name = pages_with(soups, SORTABLE)[0]
    with opened(browser, java_script_enabled=False) as page:
        page.goto(folder + name)
        shown = page.locator(SORTABLE).first
        assert shown.is_visible() and shown.locator("button").count() == 0
        soup = soups[name].select_one(SORTABLE)
        assert shown.locator("tbody tr").count() == len(soup.select("tbody tr"))
        headers = [header.text for header in soup.select("thead th")]
        assert shown.locator("thead th").all_inner_texts() == headers


def test_tables_can_be_saved_without_a_network(browser, address, soups, tmp_path):
    context = browser.new_context(viewport=DESKTOP, accept_downloads=True)
    watch = Watch(address).of(context)
    page = context.new_page()
    for name in pages_with(soups, "a[download]"):
        page.goto(address + name)
        counts = {}
        for link in page.locator("article a[download]").all():
            with page.expect_download() as started:
                link.click()
            file = tmp_path / started.value.suggested_filename
            started.value.save_as(file)
            assert file.name == link.inner_text()
            text = file.read_bytes().decode("utf-8")
            if file.suffix == ".json":
                content = json.loads(text)
                rows = content["rows"]
                assert content["about"].keys() >= {"git", "profile", "data", "versions"}
            else:
                rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
                assert None not in rows[0]  # as many values as headers
            counts.setdefault(file.stem, {})[file.suffix] = len(rows)
        for found in counts.values():
            assert found.keys() == {".csv", ".json"}
            assert len(set(found.values())) == 1
    assert watch.errors == [] and watch.elsewhere == []
    context.close()


# ---- the files, without a browser ---------------------------------------------------


def references(soup: BeautifulSoup) -> list[tuple[str, str]]:
    """Tag and address of everything that a page links to or loads."""
    found = []
    for tag in soup.find_all(True):
        for attribute in ("href", "src", "data", "poster"):
            value = tag.get(attribute)
            if isinstance(value, str):
                found.append((tag.name, value))
        for candidate in tag.get("srcset", "").split(","):
            if candidate.strip():
                found.append((tag.name, candidate.split()[0]))
    return found


def test_every_internal_link_leads_somewhere(site, soups):
    anchors = {
        name: {tag["id"] for tag in soup.find_all(id=True)}
        | {tag["name"] for tag in soup.find_all("a", attrs={"name": True})}
        for name, soup in soups.items()
    }
    dead = []
    for name, soup in soups.items():
        for _, reference in references(soup):
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc or reference in ("", "#"):
                continue
            base = f"http://site/{name}"
            target = unquote(urlsplit(urljoin(base, parts.path)).path).lstrip("/")
            target = target or name
            fragment = unquote(parts.fragment)
            if not (site / target).is_file() or (
                fragment and target in anchors and fragment not in anchors[target]
            ):
                dead.append((name, reference))
    assert dead == []


def test_no_page_loads_a_file_from_another_server(site, soups):
    loaded = [
        (name, reference)
        for name, soup in soups.items()
        for tag, reference in references(soup)
        if tag != "a" and urlsplit(reference).netloc
    ]
    assert loaded == []
    for name, soup in soups.items():
        for script in soup.find_all("script"):
            assert not re.search(r"https?://[^\s\"']+\.m?js", script.text), name
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import\s+[^;]*//|url\(\s*[\"']?(https?:)?//", text), (
            sheet
        )


def test_figures_are_numbered(soups):
    captions = [
        (name, caption.get_text(" ", strip=True))
        for name, soup in soups.items()
        for caption in soup.select("article figure > figcaption")
    ]
    assert captions
    assert [c for c in captions if not re.match(r"Figure \d+(\.\d+)? \S", c[1])] == []


def test_no_chapter_shows_a_failed_cell(soups):
    for name, soup in soups.items():
        assert not soup.select("article .traceback, article .stderr .ansi-red-fg"), name


def test_launch_buttons_lead_to_the_chapter_or_are_not_there(soups):
    from caebook.build.launch import launch_branch, launch_settings, repository_address

    settings = launch_settings(repository_address(), launch_branch())
    buttons = settings.get("launch_buttons", {})
    addresses = (buttons.get("binderhub_url"), buttons.get("colab_url"))
    expected = {urlsplit(address).netloc for address in addresses if address}
    known = r"https://(mybinder\.org|colab\.research\.google\.com)"
    for name, soup in soups.items():
        links = [link for _, link in references(soup) if re.match(known, link)]
        if not name.startswith("notebooks/"):
            assert links == [], name
            continue
        assert {urlsplit(link).netloc for link in links} == expected, name
        for link in links:
            owner_and_name = urlsplit(settings["repository"]["url"]).path
            assert f"{owner_and_name}/" in link, name
            assert re.search(rf"/{settings['repository']['branch']}\b", link), name
            notebook = f"{name.removesuffix('.html')}.ipynb"
            assert unquote(link).endswith(f"/{notebook}"), name
