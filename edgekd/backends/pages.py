"""The pages that leave with a model, from the templates in `export/`."""

from typing import Any

import jinja2

from edgekd.package_data import EXPORT
from edgekd.screen import visible


def page(name: str, **values: Any) -> str:
    """Return a page about a model; whatever its tensors are called, showing it commands no terminal."""
    return _ENVIRONMENT.get_template(f"{name}.j2").render(**values)


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(EXPORT),
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    trim_blocks=True,
    autoescape=False,
    finalize=_shown,
)
