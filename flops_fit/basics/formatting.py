"""Numbers as people read them: FLOPs, counts, durations, money and Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def format_flops(flops: float) -> str:
    """`6e10 -> "6.00e+10"`; the unit is FLOPs."""
    return f"{flops:.2e}"


def format_count(count: float) -> str:
    """`21_300 -> "21.3k"`: parameters or tokens with three significant digits, with an exponent beyond 1000T."""
    if abs(count) >= 1e15 or 0 < abs(count) < 0.005:
        return f"{count:.2e}"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= limit * 0.9995:
            return f"{_three_digits(count / limit)}{suffix}"
    return f"{count:.0f}" if float(count).is_integer() else _three_digits(count)


def format_loss(loss: float) -> str:
    """`2.1 -> "2.1000"`, and far from 1 as a power of ten: `3.2e-12 -> "3.2000e-12"`."""
    plain = loss == 0 or 1e-2 <= abs(loss) < 1e5 or not math.isfinite(loss)
    return f"{loss:.4f}" if plain else f"{loss:.4e}"


def format_rate(flops_per_second: float) -> str:
    """`1.2e9 -> "1.20 GFLOP/s"`."""
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if flops_per_second >= limit * 0.9995:
            return f"{_three_digits(flops_per_second / limit)} {prefix}FLOP/s"
    return f"{_three_digits(flops_per_second / 1e3)} kFLOP/s"


def format_seconds(seconds: float) -> str:
    """`5000 -> "1 h 23 min"`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def format_money(amount: float) -> str:
    """`1234.5 -> "$1,234.50"`."""
    return f"${amount:,.2f}"


def format_bytes(count: float) -> str:
    """`2.5e9 -> "2.50 GB"`: powers of ten, three significant digits."""
    for limit, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit * 0.9995:
            return f"{_three_digits(count / limit)} {unit}"
    return f"{count:.0f} B"


def safe_text(text: str, longest: int = 4000) -> str:
    """`text` as any terminal, file and page can show it: unprintable characters escaped, its middle left out if long.

    What it returns it leaves as it is.
    """
    if len(text) > longest:
        left_out = f" … ({len(text):,} characters) … "
        end = longest // 4
        text = text[: longest - end - len(left_out)] + left_out + text[-end:]
    escaped = "".join(sign if sign.isprintable() or sign in "\n\t" else ascii(sign)[1:-1] for sign in text)
    return escaped if len(escaped) <= longest else safe_text(escaped, longest)


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A GitHub-flavoured Markdown table; cells are `str()` of their values."""
    lines = ["| " + " | ".join(headers) + " |", "|" + "|".join("---" for _ in headers) + "|"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}" if abs(value) < 99.95 else f"{value:.0f}"
