"""Tables for the terminal, with fewer columns where it is narrow, and what is in their cells."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from cnnviz.receptive_field.algebra import ReceptiveField

# Columns of words, which are set flush left and may be folded; all others are numbers.
_WORDS = ("layer", "weights", "type", "unit", "look", "tripped", "reason", "file")
_STYLES = {"layer": "cyan", "look": "yellow", "tripped": "red"}


def tables(rows: Sequence[Mapping[str, str]], spared: Sequence[str] = ()) -> list[Table]:
    """Return a table with all columns, then others with fewer and fewer.

    Args:
        rows: The cells of each row by column title, in rich's markup.
        spared: Titles in the order in which they are left out.
    """
    titles = list(rows[0]) if rows else []
    gone = [title for title in spared if title in titles]
    return [_table(rows, titles, gone[:count]) for count in range(len(gone) + 1)]


def _table(rows: Sequence[Mapping[str, str]], titles: Sequence[str], gone: Sequence[str]) -> Table:
    # A name that is cut in two cannot be copied: columns go before names are folded.
    table = Table(box=None, header_style="bold", pad_edge=False, caption_justify="left")
    table.caption = f"no room for {', '.join(gone)}" if gone else None
    shown = [title for title in titles if title not in gone]
    for title in shown:
        text = title in _WORDS
        table.add_column(
            title, style=_STYLES.get(title, ""),
            justify="left" if text else "right", no_wrap=not text, overflow="fold",
        )  # fmt: skip
    for row in rows:
        table.add_row(*(row[title] for title in shown))
    return table


def field_texts(field: ReceptiveField | None) -> tuple[str, str]:
    """Return size and stride of a receptive field as a table has them: `27`, or `7×1`."""
    if field is None:
        return "–", "–"
    hull = "" if field.aligned else " hull"
    reach = " global" if field.is_global else ""
    return f"{field.size_text}{hull}{reach}", field.stride_text
