"""The trainer under ACLs: Read on its input and on `.control` is all it needs, and what is missing is named at once."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from stream_app.cli import main
from stream_app.doctor import examine
from stream_app.settings import Settings
from tests.app.forks import TIDECAST
from tests.app.running_worker import World, readings, wait_until
from tests.security.servers import SecuredServers
from tests.security.test_refusals import SCRAM, configure

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]
PASSWORD = "canary-of-the-trainer"


def made(
    secured: SecuredServers, folder: Path, *, reads: tuple[str, ...], knows: tuple[str, ...] = ()
) -> tuple[World, Path]:
    """A topic with a few readings, and the configuration of a user who may read and may know of `in` or `control`."""
    world = World(secured.kafka.address, "", f"in-{uuid.uuid4().hex[:8]}", 1, folder)
    topics = {"in": world.topic, "control": f"{world.topic}.control"}
    world.create(*topics.values())
    user = f"trainer-{uuid.uuid4().hex[:8]}"
    secured.add_reader(user, PASSWORD, *(topics[each] for each in reads), describes=[topics[each] for each in knows])
    world.send(readings([[float(tick)] for tick in range(30)]))
    path = configure(folder / "t.toml", secured, "sasl", SCRAM | {"sasl.username": user, "sasl.password": PASSWORD})
    outputs = f'[streams.tides.outputs]\nprefix = "{world.topic}"\n[models]\nregistry = "{folder / "models"}"\n'
    path.write_text(path.read_text().replace("guarded.in", world.topic) + outputs)
    return world, path


def refused(capfd: pytest.CaptureFixture[str], config: Path) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--config", str(config)])
    said = "".join(
        line for line in capfd.readouterr().err.splitlines(True) if not line.startswith("%")
    )  # of librdkafka
    assert ended.value.code == 2
    assert said.count("\n") == 1, said
    assert "canary" not in said
    return said


def test_read_on_its_input_is_enough_to_learn_from_it(secured: SecuredServers, tmp_path: Path, capfd) -> None:
    """It has read it: too little came of that."""
    world, config = made(secured, tmp_path, reads=("in",))
    said = refused(capfd, config)
    assert "may not" not in said
    assert world.topic not in said
    assert "stream tides" in said


@pytest.mark.parametrize("knows", [(), ("in",)], ids=["nothing", "Describe"])
def test_a_right_that_is_missing_is_named(
    secured: SecuredServers, tmp_path: Path, capfd, knows: tuple[str, ...]
) -> None:
    world, config = made(secured, tmp_path, reads=("control",), knows=knows)
    assert f"may not read {world.topic}: give it Read" in refused(capfd, config)


@pytest.mark.parametrize(
    ("reads", "knows", "said"),
    [
        (("in", "control"), (), None),
        (("in",), (), ("waiting", "may not read {topic}.control: give it Read")),
        (("in",), ("control",), ("requests to train are not heard", "does not hand out {topic}.control")),
    ],
    ids=["all", "nothing", "Describe"],
)
def test_who_follows_needs_to_read_what_workers_ask(
    secured: SecuredServers,
    tmp_path: Path,
    reads: tuple[str, ...],
    knows: tuple[str, ...],
    said: tuple[str, str] | None,
) -> None:
    world, config = made(secured, tmp_path, reads=reads, knows=knows)
    config.write_text(config.read_text().replace('start_deadline = "1s"', 'start_deadline = "1min"'))
    trainer = world.start(config, (TIDECAST, "train", "--follow"))
    if said is None:
        assert "stream tides" in trainer.wait_for("training failed, the model in charge stays", 60)["error"]
        assert not [line for line in trainer.lines() if line["event"] == "requests to train are not heard"]
    else:
        assert said[1].format(topic=world.topic) in trainer.wait_for(said[0], 60)["reason"]
    assert secured.connected(trainer.process.pid) == {"kafka"}  # as the network policies have it
    assert trainer.stop() == 0
    assert "canary" not in trainer.log_path.read_text()


def test_the_doctor_says_what_the_user_of_the_trainer_lacks(secured: SecuredServers, tmp_path: Path) -> None:
    """`.control` is wanted by --follow alone."""
    world, config = made(secured, tmp_path, reads=("in",))

    def found() -> dict[str, tuple[str, str]]:
        told = examine(Settings.load(config, {}), program="trainer")
        return {each.about: (each.severity.name, each.found + each.remedy) for each in told if each.look == "rights"}

    wait_until(lambda: found()[world.topic] == ("OK", "Read on this topic"), 30, "what was granted")
    severity, said = found()[f"{world.topic}.control"]
    assert (severity, f"give it Read on the topic {world.topic}.control" in said) == ("WARNING", True)
    assert "--follow" in said
    assert len(found()) == 2
