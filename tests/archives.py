"""Why: tests need archives that no honest program makes."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from typing import Any

Entry = dict[str, Any]


def tar(*entries: Entry, mode: str = "w", **how: Any) -> bytes:
    """A tar archive of entries: name, and content, folder, link, hard or type."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, **how) as made:  # type: ignore[call-overload]
        for entry in entries:
            info = tarfile.TarInfo(entry["name"])
            info.mode = entry.get("mode", 0o644)
            content = entry.get("content", "")
            content = content if isinstance(content, bytes) else content.encode()
            if "link" in entry:
                info.type, info.linkname = tarfile.SYMTYPE, entry["link"]
            elif "hard" in entry:
                info.type, info.linkname = tarfile.LNKTYPE, entry["hard"]
            elif "folder" in entry:
                info.type, info.mode = tarfile.DIRTYPE, entry["folder"]
            elif "type" in entry:
                info.type = entry["type"]
            info.size = len(content)
            info.pax_headers = entry.get("pax", {})
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for entry in entries:
            info = zipfile.ZipInfo(entry["name"])
            info.compress_type = method
            kind = stat.S_IFLNK if "link" in entry else entry.get("type", stat.S_IFREG)
            info.external_attr = (kind | entry.get("mode", 0o644)) << 16
            made.writestr(info, entry["link"] if "link" in entry else entry.get("content", ""))
    return out.getvalue()
