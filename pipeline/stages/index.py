"""Stage index: what lies in the Multi-PIE tree, file by file."""

from mfnet.config import load_params
from mfnet.data.index import build_index
from mfnet.errors import about
from pipeline.outputs import DIGESTS, main, whole_file
from pipeline.tracking import log_metrics, tracked


def stage() -> None:
    """Write data/index.parquet."""
    params = load_params()
    root = params.data.multipie
    with tracked("index", {"data": {"multipie": str(root)}}, [root / "meta"]):
        with about("data.multipie"):
            index = build_index(root, params.engine.workers, DIGESTS)
        with whole_file("data/index.parquet") as path:
            index.to_parquet(path)
        counts = {"files": len(index), "bad_names": int(index["problem"].notna().sum())}
        print(f"{counts['files']} files, {counts['bad_names']} with a name that is not Multi-PIE's")
        log_metrics(counts)


if __name__ == "__main__":
    main(stage)
