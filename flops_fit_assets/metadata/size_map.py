"""What the page of `size_map` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import MetadataValue

from flops_fit.basics.formatting import format_flops
from flops_fit_assets.metadata.shared import Metadata, finite, inline_table

if TYPE_CHECKING:
    from flops_fit.sizes.size_map import SizeMap


def size_map_metadata(size_map: SizeMap, file: Any) -> Metadata:
    """The table of sizes, the conventions, and what was skipped; `file` is its file as metadata."""
    entries = size_map.entries
    experts = any(entry.active_params for entry in entries)
    headers = (
        "size" if size_map.is_table else size_map.size_param, *size_map.argument_names,
        f"parameters ({size_map.param_count})", *(["total", "active"] if experts else []), "FLOPs per token",
        "counted by",
    )  # fmt: skip
    rows = [
        (
            entry.label or entry.size,
            *entry.arguments.values(),
            f"{entry.num_params:,}",
            *([_count(entry.total_params), _count(entry.active_params)] if experts else []),
            format_flops(entry.flops_per_token),
            entry.source,
        )
        for entry in entries
    ]
    shown = {
        "model": size_map.model_name,
        "sizes": len(entries),
        "N counts": f"{size_map.param_count} parameters",
        "smallest": size_map.label(entries[0]),
        "largest": size_map.label(entries[-1]),
        "FLOPs per token": size_map.flops_method,
        "size table": inline_table(headers, rows),
        "skipped sizes": len(size_map.skipped),
        "file": file,
    }
    if size_map.skipped:
        skipped = [(item.label or item.size, item.reason) for item in size_map.skipped]
        shown["skipped"] = inline_table(("size", "reason"), skipped)
    if size_map.notes:
        shown["notes"] = MetadataValue.md("\n".join(f"- {note}" for note in size_map.notes))
    return finite(shown)


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
