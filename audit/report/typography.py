"""How a report looks: fonts, colours, paragraph styles, and text made safe to print.

The fonts are the Bitstream Vera files that reportlab ships, embedded, so that a report reads the
same everywhere. They cover Latin letters only: any other character is printed as its code point,
never dropped (see `printable`).
"""

from functools import cache, lru_cache
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

from audit.controls.verdicts import Verdict

REGULAR = "Vera"
BOLD = "VeraBd"
ITALIC = "VeraIt"
# Ends what was cut.
_CUT = "..."
_FILES = {REGULAR: "Vera.ttf", BOLD: "VeraBd.ttf", ITALIC: "VeraIt.ttf"}

INK = HexColor("#1b2430")
MUTED = HexColor("#5b6673")
RULE = HexColor("#c9d0d8")
SHADE = HexColor("#eef1f5")
BAND = HexColor("#f7f8fa")
ACCENT = HexColor("#17456b")

# Series colours keep apart for readers with any of the common colour deficiencies (Okabe & Ito).
ANSWERED = HexColor("#0072b2")
DENIED = HexColor("#e69f00")
FAILED = HexColor("#b3453c")
NEUTRAL = HexColor("#8a94a0")
TRACEABLE = HexColor("#00795a")

VERDICT_COLOURS: dict[Verdict, Color] = {
    Verdict.PASS: HexColor("#1d6f42"),
    Verdict.PARTIAL: HexColor("#8a5a00"),
    Verdict.FAIL: HexColor("#a3211b"),
    Verdict.NO_DATA: HexColor("#4a5a6d"),
    Verdict.NOT_EVIDENCED: HexColor("#6b6f76"),
}


def register_fonts() -> None:
    """Register the embedded fonts with reportlab; harmless when repeated."""
    known = set(pdfmetrics.getRegisteredFontNames())
    for name, filename in _FILES.items():
        if name not in known:
            pdfmetrics.registerFont(TTFont(name, filename))
    pdfmetrics.registerFontFamily(
        REGULAR, normal=REGULAR, bold=BOLD, italic=ITALIC, boldItalic=BOLD
    )


_BODY = ParagraphStyle(
    "body",
    fontName=REGULAR,
    fontSize=8.8,
    leading=12.6,
    textColor=INK,
    spaceAfter=5,
    bulletFontName=REGULAR,
)
_CELL = ParagraphStyle("cell", parent=_BODY, fontSize=7.6, leading=10, spaceAfter=0)

STYLES: dict[str, ParagraphStyle] = {
    style.name: style
    for style in (
        _BODY,
        _CELL,
        ParagraphStyle("lead", parent=_BODY, fontSize=10, leading=14.5, textColor=MUTED),
        ParagraphStyle("cell-strong", parent=_CELL, fontName=BOLD),
        ParagraphStyle("cell-head", parent=_CELL, fontName=BOLD, textColor=ACCENT),
        ParagraphStyle("cell-muted", parent=_CELL, textColor=MUTED),
        ParagraphStyle("cell-number", parent=_CELL, alignment=TA_RIGHT),
        ParagraphStyle("cell-head-number", parent=_CELL, fontName=BOLD, textColor=ACCENT,
                       alignment=TA_RIGHT),
        # Hashes and checkpoints have no spaces to break at.
        ParagraphStyle("cell-code", parent=_CELL, fontSize=6.6, leading=9, splitLongWords=1,
                       wordWrap="CJK"),
        # A statement or note as it stands; `lines` keeps its breaks and its indents.
        ParagraphStyle("code", parent=_BODY, fontSize=6.4, leading=8.6, backColor=BAND,
                       borderPadding=4, spaceBefore=5, spaceAfter=9, splitLongWords=1),
        ParagraphStyle("figure-name", parent=_BODY, fontName=BOLD, fontSize=7.6, leading=10,
                       spaceBefore=4, spaceAfter=0),
        ParagraphStyle("digest", parent=_BODY, fontSize=6.4, leading=8.6, textColor=MUTED,
                       spaceAfter=2),
        ParagraphStyle("bullet", parent=_BODY, leftIndent=14, bulletIndent=2,
                       bulletFontSize=8.8, spaceAfter=3),
        ParagraphStyle("caption", parent=_BODY, fontSize=7.4, leading=10, textColor=MUTED,
                       spaceBefore=2, spaceAfter=10),
        ParagraphStyle("title", parent=_BODY, fontName=BOLD, fontSize=24, leading=30,
                       textColor=ACCENT, spaceAfter=6),
        ParagraphStyle("subtitle", parent=_BODY, fontSize=13, leading=18, textColor=MUTED,
                       spaceAfter=22),
        ParagraphStyle("heading", parent=_BODY, fontName=BOLD, fontSize=14.5, leading=19,
                       textColor=ACCENT, spaceBefore=16, spaceAfter=6, keepWithNext=1),
        ParagraphStyle("subheading", parent=_BODY, fontName=BOLD, fontSize=10, leading=14,
                       spaceBefore=8, spaceAfter=3, keepWithNext=1),
        ParagraphStyle("contents", parent=_BODY, fontSize=8.8, leading=13.2, spaceAfter=0),
    )
}  # fmt: skip


def text(content: object, style: str = "body") -> Paragraph:
    """Set plain text: nothing in it is taken as markup."""
    return Paragraph(escape(printable(str(content))), STYLES[style])


def bullet(content: object, *, mark: str = "-") -> Paragraph:
    """Set plain text as an item of a list."""
    return Paragraph(escape(printable(str(content))), STYLES["bullet"], bulletText=mark)


def lines(content: str, style: str = "code") -> Paragraph:
    """Set plain text with its own line breaks and indents."""
    set_lines = []
    for line in printable(content).rstrip("\n").split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        set_lines.append("&nbsp;" * indent + escape(line[indent:]))
    return Paragraph("<br/>".join(set_lines), STYLES[style])


def shortened(content: str, limit: int = 64) -> str:
    """Cut a name that would not fit a cell; `limit` is in characters."""
    return content if len(content) <= limit else f"{content[: limit - len(_CUT)]}{_CUT}"


@lru_cache(8192)
def fitted(content: str, width: float, size: float) -> str:
    """Return plain text that is no wider than `width` in the regular font, cut if need be.

    width and size: in points. The same few words fill most cells of a long table.
    """
    shown = printable(content.replace("\n", " "))
    whole = pdfmetrics.stringWidth(shown, REGULAR, size)
    if whole <= width:
        return shown
    # In proportion to begin with: a name may be of any length.
    limit = int(len(shown) * width / whole) + 1
    while (
        limit > len(_CUT) and pdfmetrics.stringWidth(shortened(shown, limit), REGULAR, size) > width
    ):
        limit -= 1
    return shortened(shown, limit)


def printable(content: str) -> str:
    """Replace each character that the fonts cannot show by its code point, as in [U+4E2D]."""
    shown = _shown()
    return "".join(
        each if ord(each) in shown or each == "\n" else f"[U+{ord(each):04X}]" for each in content
    )


@cache
def _shown() -> frozenset[int]:
    register_fonts()
    return frozenset(
        code for code in pdfmetrics.getFont(REGULAR).face.charToGlyph if code >= ord(" ")
    )
