"""Known ends of pip, told in the user's words."""

import re
import sys

from slicer.i18n import tr as _


def explanation(log: str, *, fromFolder: bool = False) -> str:
    """Return what went wrong and what to do, or an empty text if the log shows nothing that we know.

    Args:
        log: The lines of pip.
        fromFolder: Whether packages came from a local folder instead of a server.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    for pattern, text in [*_ofTheComputer(), *_ofTheNetwork(), *_ofThePackages(fromFolder=fromFolder)]:
        match = re.search(pattern, log, re.IGNORECASE)
        if match:
            name = match.groupdict().get("name") or ""
            return text.format(name=name.rstrip(".;,"), python=python, system=sys.platform)
    return ""


def _ofTheComputer() -> list[tuple[str, str]]:
    full = _("The disk is full. torch needs about 6 GB in Slicer's folder and in the temporary folder.")
    long = _(
        "Windows refused a path of more than 260 characters. Install Slicer into a folder with a short "
        "name such as C:\\Slicer, or let your administrator allow long paths, then try again."
    )
    inUse = _("A file is in use or locked, perhaps by a virus scanner. Restart Slicer and try again.")
    locked = _(
        "Slicer's folder cannot be written to. Install Slicer into a folder of your own (that needs no "
        "administrator), or ask the person who installed it to install these packages."
    )
    return [
        (r"no space left on device|\[errno 28\]|not enough space on the disk", full),
        (r"\[winerror 206\]|windows long path|(\[errno 2\]|\[winerror 3\]).*torch[\\/]+include", long),
        (r"\[winerror (5|32)\]|access is denied|being used by another process", inUse),
        (r"permission denied|\[errno 13\]|read-only file system", locked),
    ]


def _ofTheNetwork() -> list[tuple[str, str]]:
    certificate = _(
        "The certificate of the package server was refused, as happens behind a hospital's firewall. Ask "
        "for the firewall's certificate file and set the environment variable PIP_CERT to it, or use a "
        "folder of Python packages."
    )
    proxy = _(
        "The network's proxy refused the connection. Set the environment variable PIP_PROXY "
        "(http://user:password@server:port) before Slicer starts, or use a folder of Python packages."
    )
    unreachable = _(
        "The package server cannot be reached. Check the network; behind a firewall set PIP_PROXY or "
        "PIP_INDEX_URL, or use a folder of Python packages."
    )
    return [
        (r"certificate.verify.failed|sslerror", certificate),
        (r"proxyerror|407 proxy|cannot connect to proxy", proxy),
        (
            r"getaddrinfo|name resolution|newconnectionerror|connecttimeout|network is unreachable",
            unreachable,
        ),
    ]


def _ofThePackages(*, fromFolder: bool) -> list[tuple[str, str]]:
    conflict = _(
        "The packages do not go together with {name}, which Slicer has; Slicer's own packages were left as "
        "they are. Update Slicer, or send us the log."
    )
    absentInFolder = _(
        "The folder of Python packages holds no {name} for this computer (Python {python}, {system}). Put "
        "its .whl file there."
    )
    absent = _("No {name} was found for this computer. Check the network, or the package mirror.")
    return [
        (r"the user requested \(constraint\) (?P<name>\S+)", conflict),
        (r"no matching distribution found for (?P<name>[^\s(]+)", absentInFolder if fromFolder else absent),
    ]
