"""Power over time of files, as ``wattshed fleet demand`` reads it."""

from wattshed.agent.fleet.demand.series import read_series
from wattshed.agent.inputs.columns import parse_spec
from wattshed.agent.traces.opening import OpenedTrace
from wattshed.agent.traces.options import Options


def recorded(*paths, columns="", kept=None, **options):
    """Read files; ``columns`` and the rest as on the command line, see `Options`."""
    spec = parse_spec(columns) if columns else None
    return read_series(OpenedTrace([str(path) for path in paths], Options(spec, loads=True, **options)), kept)
