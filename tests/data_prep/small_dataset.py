"""Three small images with labels, prepared by the command as `mine`, and read back."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import folder

SIDES = {"a": 40, "b": 50, "c": 60}


def image_of(name):
    side = SIDES[name]
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)


def labels_of(name):
    labels = np.zeros((SIDES[name], SIDES[name]), np.int32)
    labels[5:15, 5:15], labels[20:30, 8:12] = 1, 300
    return labels


def prepare(source, out, *options):
    folder.main(["--source", str(source), "--out", str(out), "--name", "mine", *options])


def failure(capsys, command, *arguments):
    """The message of a command that must fail, with exit code 2 and no traceback."""
    with pytest.raises(SystemExit) as caught:
        command([str(argument) for argument in arguments])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def read(out, config, split):
    builder = tfds.builder_from_directory(out / "folder" / config / "1.0.0")
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return builder, {example["id"].decode(): example for example in examples}
