"""Parts computed by the nodes of a Ray cluster, through Ray Data; the extra ``pixloop[ray]``.

The data set that Ray spreads is that of parts, a number a row. Each worker opens the model once,
reads the pictures of a part itself, and writes its answers to S3 itself; where the output is a
folder, they come back to the process that asks, which writes them. The bundle goes to the nodes as
bytes, so they need share nothing but the pictures.
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pixloop.bundle import MANIFEST, Bundle
from pixloop.data.ray_cluster import cluster
from pixloop.errors import DataError, PixloopError
from pixloop.picture_predictions.batch import Batch
from pixloop.picture_predictions.batch_output import PLAN, BatchOutput
from pixloop.picture_predictions.computing import predict_parts
from pixloop.picture_predictions.parts import Piece, Plan
from pixloop.picture_predictions.places import Stores, is_remote
from pixloop.progress import Advance

#: Parts that a worker is given at once, at most: while it computes one, it reads the next.
_AT_ONCE = 8


class Ray:
    """Computes parts on a cluster. It is an ``Engine``."""

    def __init__(self, address: str) -> None:
        """``address``: see ``ray_cluster.cluster``."""
        self._address = address

    def __call__(self, batch: Batch, parts: list[int], advance: Advance) -> None:
        """Raises DataError: the cluster, a node, or what is to be read fails."""
        with (
            cluster(self._address, f"--ray {self._address}"),
            TemporaryDirectory(prefix="pixloop-") as folder,
        ):
            file = Path(folder) / "part.parquet"
            for row in _compute(batch, parts):
                if row["problem"]:
                    raise DataError(row["problem"])
                if row["content"]:
                    _keep(row["content"], file)
                    batch.output.publish(file, row["part"])
                advance(row["pictures"])


def _keep(content: bytes, file: Path) -> None:
    try:
        file.write_bytes(content)
    except OSError as e:
        raise DataError(f"{file} cannot be written: {e.strerror}.") from e


def _compute(batch: Batch, parts: list[int]) -> Iterator[dict[str, Any]]:
    """What the workers give, a row a part, in no order."""
    import pyarrow as pa
    import ray

    workers, cpus = _shares()
    # As long as these are held here, a worker that is lost can be begun again.
    files = ray.put(_files(batch.bundle, batch.plan.head.answering.graph))
    address = batch.output.address
    plan = None if is_remote(address) else ray.put(Path(address, PLAN).read_bytes())
    at_once = max(1, min(_AT_ONCE, len(parts) // (4 * workers)))
    blocks = [pa.table({"part": some}) for some in _blocks(batch.plan, parts, at_once)]
    computed = ray.data.from_arrow(blocks).map_batches(
        _Worker,
        fn_constructor_args=(files, address, plan, batch.plan.head.identity),
        batch_size=None,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(blocks))),
        num_cpus=cpus,
    )
    try:
        tables: Any = computed.iter_batches(
            batch_size=None, prefetch_batches=0, batch_format="pyarrow"
        )
        for table in tables:
            yield from table.to_pylist()
    except ray.exceptions.RayError as e:
        reason = str(e).strip().rpartition("\n")[2]
        raise DataError(
            f"a Ray node cannot predict: {reason} Every node needs the same pixloop as this "
            "machine, in the Python that runs Ray there. The same command goes on."
        ) from e


def _blocks(plan: Plan, parts: list[int], at_once: int) -> Iterator[list[int]]:
    """Parts that one worker takes at once.

    Those of one row group stay together: whoever begins inside reads all that is before.
    """
    block: list[int] = []
    for part in parts:
        if len(block) >= at_once and not plan.begins_inside(part):
            yield block
            block = []
        block.append(part)
    if block:
        yield block


def _shares() -> tuple[int, int]:
    """How many workers a cluster takes, and how many CPUs each: as many as the smallest node has.

    Raises:
        DataError: it has no CPUs.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call, unused-ignore]
    cpus_of = (int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"])
    able = [cpus for cpus in cpus_of if cpus]
    if not able:
        raise DataError("the Ray cluster has no node with CPUs to predict with.")
    return sum(cpus // min(able) for cpus in able), min(able)


def _files(bundle: Bundle, graph: str) -> dict[str, bytes]:
    """Of a bundle, what answering by one graph takes."""
    names = (MANIFEST, *bundle.graph_files(graph))
    return {name: (bundle.path / name).read_bytes() for name in names}


class _Worker:
    """On a node: the model, opened once, and what it reads and writes by."""

    def __init__(self, files: Any, address: str, plan: Any, identity: str) -> None:
        self._stores, self._identity = Stores(), identity
        self._output = None if plan is not None else BatchOutput(address, self._stores)
        self._problem = ""
        try:
            self._open(files, plan)
        except PixloopError as e:
            self._problem = str(e)
        except OSError as e:
            self._problem = f"a Ray node cannot open the model from a file: {e.strerror or e}."

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A row a part; what goes wrong is told in a row, since Ray would hide it in its own."""
        try:
            if self._problem:
                raise DataError(self._problem)
            if self._plan.head.identity != self._identity:
                raise DataError("the output was begun anew meanwhile, by another process.")
            ask = self._predictor.predict_each
            parts = self._seen(batch["part"].tolist())
            for facts, file in predict_parts(ask, self._plan, self._stores, parts):
                if self._output is not None:
                    self._output.publish(file, facts.part)
                content = file.read_bytes() if self._output is None else b""
                yield _row(facts.part, facts.summary.pictures, content)
        except PixloopError as e:
            yield _row(problem=str(e))

    def _open(self, files: Any, plan: Any) -> None:
        import ray

        # The inference engine takes a while to import.
        from pixloop.serving.predictor import open_predictor

        found = Plan(BytesIO(ray.get(plan)), PLAN) if self._output is None else self._open_plan()
        self._plan = found
        # Nobody tells a worker when it is over. Files that are open stay readable without a name.
        with TemporaryDirectory(prefix="pixloop-") as folder:
            bundle = _write(ray.get(files), Path(folder))
            self._predictor = open_predictor(bundle, self._plan.head.answering.graph)

    def _open_plan(self) -> Plan:
        assert self._output is not None  # noqa: S101 - the caller's
        plan = self._output.open_plan()
        if plan is None:
            raise DataError(f"{self._output.address} has no {PLAN} any more.")
        return plan

    def _seen(self, parts: list[int]) -> Iterator[int]:
        """Parts, each looked at before it is read: an empty mount point is a folder as well."""
        for part in parts:
            pieces = self._plan.part(part)
            if not any(map(self._sees, pieces)):
                raise DataError(
                    f"a Ray node does not see {pieces[0].source}. Pictures must lie on S3, or "
                    "where all nodes see them under the same path."
                )
            yield part

    def _sees(self, piece: Piece) -> bool:
        source = piece.source
        return is_remote(source) or self._stores.of(source).stamp(source) is not None


def _row(
    part: int = -1, pictures: int = 0, content: bytes = b"", problem: str = ""
) -> dict[str, Any]:
    return {"part": [part], "pictures": [pictures], "content": [content], "problem": [problem]}


def _write(files: dict[str, bytes], folder: Path) -> Bundle:
    for name, content in files.items():
        # Names in a manifest lie inside its bundle: it was opened before it was sent.
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return Bundle.open(folder)
