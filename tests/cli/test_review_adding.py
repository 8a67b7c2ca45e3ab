import json

from tests.evaluation.trust.planted import write_planted
from typer.testing import CliRunner

from pixloop.cli.app import app
from pixloop.pipeline.runs import RunRecord
from pixloop.project import Project
from pixloop.run_summary import output_of


def review(project, *arguments):
    return CliRunner().invoke(app, ["review", *arguments, "--project", str(project), "--json"])


def test_what_the_last_report_lists_waits_in_the_queue_with_its_reason(tmp_path):
    project = Project.init(tmp_path / "pets", data=str(tmp_path))
    assert "there is no report yet" in str(review(project.folder, "add").exception)

    run = RunRecord(id="r1", pid=1, started="2026-01-01T00:00:00Z")
    run.folder = project.state / "runs" / run.id
    run.save()
    data = write_planted(output_of(run, "Prepare", "dataset"))
    entries = [
        {
            "number": n, "split": "train", "path": row.path, "sha256": row.sha256,
            "detail": f"doubt {n}", "weight": 0.9, "label": "red", "likely": "blue",
            "answer": {"label": "blue", "score": 0.9, "probabilities": {"blue": 0.9}},
        }
        for n, row in enumerate((data.split("train").read(i) for i in range(4)), start=1)
    ]  # fmt: skip
    evaluation = output_of(run, "Evaluate", "evaluation")
    evaluation.mkdir(parents=True)
    said = {"pixloop": {"trust": {"review": entries}}}
    (evaluation / "evaluation.json").write_text(json.dumps(said))

    assert json.loads(review(project.folder, "add", "1", "3-4").stdout)["new"] == 3
    assert json.loads(review(project.folder, "add", "1", "3-4").stdout)["new"] == 0
    assert json.loads(review(project.folder, "add").stdout) == {"new": 1, "known": 3, "run": "r1"}
    listed = json.loads(review(project.folder, "list").stdout)["items"]
    details = {item["reasons"][0]["detail"] for item in listed}
    assert details == {f"doubt {n}" for n in range(1, 5)}
    assert review(project.folder, "add", "9").exit_code != 0
    backwards = review(project.folder, "add", "1,3-1")
    assert "'3-1' ends before it begins" in str(backwards.exception)
    assert review(project.folder, "add", "--run", "r2").exit_code != 0

    (evaluation / "evaluation.json").write_text(json.dumps({"pixloop": {}}))
    assert "Run 'pixloop run' again" in str(review(project.folder, "add").exception)
