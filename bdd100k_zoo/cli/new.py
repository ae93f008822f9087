"""new: an entry for a model of your own in a zoo file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from bdd100k_zoo.cli.options import Json, get_session, nonempty_path
from bdd100k_zoo.cli.output import handle_errors, print_field, write_json


@handle_errors
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the model: lower-case letters, digits, `_`, `-`.")],
    config: Annotated[
        Path, typer.Option(metavar="FILE", parser=nonempty_path, help="An mmdet config. It is code, and is run.")
    ],
    weights: Annotated[
        str, typer.Option(metavar="FILE|ADDRESS", help="A checkpoint, or its address: https://, hf:// or file://.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=nonempty_path,
            help="The zoo file, new or existing; default: that of BDD100K_ZOO_FILES, else zoo.yaml.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a model of your own to a zoo file, and check its config and weights."""
    from bdd100k_zoo.api.own_models import add_model
    from bdd100k_zoo.registry.models import format_parameters

    added = add_model(name, config, weights, out=out)
    model, file = added.model, added.file
    if as_json:
        fields = {"name": name, "file": file, "parameters": model.parameters, "unchecked": added.unchecked}
        write_json(fields)
        return
    print_field("zoo file", str(file))
    print_field("config", str(model.config_path))
    print_field("weights", model.weights.address)
    if model.parameters:
        print_field("parameters", f"{format_parameters(model.parameters)} ({model.parameters:,})")
    for each in added.unchecked:
        print_field("not checked", each)
    listed = [os.path.realpath(each) for each in os.environ.get("BDD100K_ZOO_FILES", "").split(os.pathsep) if each]
    here = get_session(context)
    if os.path.realpath(file) not in listed:
        files = os.pathsep.join([*listed, str(file)])
        here.note("every command knows it after the first of these; or give --zoo FILE to each")
        print_field("next", f"export BDD100K_ZOO_FILES={shlex.quote(files)}")
        print_field("", f"bdd100k-zoo predict {name} image.jpg")
    else:
        print_field("next", f"bdd100k-zoo predict {name} image.jpg")
