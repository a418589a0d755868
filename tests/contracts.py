"""A contract of imports that lists exceptions: what is new is bound by it, and no list has to grow."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class OnlyTheseReach(Contract):
    """Of `inside`, only `allowed` modules, and what is in them, may reach the `reached` ones, by themselves or others.

    `ignored` are imports, as `importer -> imported`, that do not count; `*` stands for one name.
    """

    inside = fields.StringField()
    allowed = fields.SetField(subfield=fields.StringField())
    reached = fields.SetField(subfield=fields.StringField())
    ignored = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look for the shortest way of each module that may not."""
        for expression in self.ignored or ():
            importer, _, imported = expression.partition(" -> ")
            for source in sorted(graph.find_matching_modules(importer)):
                if graph.direct_import_exists(importer=source, imported=imported):
                    graph.remove_import(importer=source, imported=imported)
        inside = {self.inside, *graph.find_descendants(self.inside)}
        reached = {name for top in self.reached for name in (top, *_inner(graph, top)) if name in graph.modules}
        reaching = {module for name in reached for module in graph.find_downstream_modules(name)}
        wrong = sorted(module for module in inside & reaching - reached if not self._may(module))
        ways = {module: _way(graph, module, reached) for module in wrong}
        unused = sorted(name for name in self.allowed if not any(self._is_in(found, name) for found in reaching))
        return ContractCheck(kept=not ways and not unused, metadata={"ways": ways, "unused": unused})

    def _may(self, module: str) -> bool:
        return any(self._is_in(module, name) for name in self.allowed)

    @staticmethod
    def _is_in(module: str, package: str) -> bool:
        return module == package or module.startswith(f"{package}.")

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the ways, and exceptions that are none any more."""
        for way in check.metadata["ways"].values():
            output.print_error(" -> ".join(way))
        for name in check.metadata["unused"]:
            output.print_error(f"{name} is an exception, and needs to be none")


def _inner(graph: ImportGraph, top: str) -> set[str]:
    """The modules in one of our own packages; what is outside is one module."""
    return set() if graph.is_module_squashed(top) else set(graph.find_descendants(top))


def _way(graph: ImportGraph, module: str, reached: set[str]) -> tuple[str, ...]:
    chains: list[Any] = [graph.find_shortest_chain(importer=module, imported=name) for name in reached]
    return min((tuple(chain) for chain in chains if chain), key=len)
