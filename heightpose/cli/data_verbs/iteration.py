"""``heightpose data iteration``: named, ordered, hashed chunks of data. The work is in heightpose.data.draw."""

from __future__ import annotations

import json
from pathlib import Path

import click

from heightpose.cli._params import FilePath
from heightpose.words import plural

NEW_EPILOG = """\b
Writes:
  ROOT/
    NAME.json    the chunk: items, hashes of labels and pictures, the aim, the held-out test sets

\b
Examples, a proof of concept and what follows it:
  heightpose data iteration new poc --data nursery --share 10% --testset eval/testsets/clips
  heightpose data iteration new tucked --share 40% --where legs=tucked --where occlusion=blanket --fill
  heightpose data iteration new advised --share 30% --advice advice.json
  heightpose data iteration new full --share 20%
  heightpose train configs/pose-fast.yaml --iteration tucked

\b
A share is of the pool's children (splits train and val, each alike), earlier iterations' included, so 10 %, 40 % and
50 % make the whole. Children are never split; a child or a picture of a test set is never drawn, nor a picture whose
recording_sha256 is one of its videos.

\b
Children are counted by the names in the labels, here as in show and diff: twins are two, and drawn together, so there
may be more of them than the share asks for. Of infants without a name each picture or video counts as a child.
"""

_root = click.option(
    "--root", type=FilePath(file_okay=False), default=Path("iterations"),
    show_default=True, help="Folder of the iterations.",
)  # fmt: skip


@click.group("iteration")
def iteration() -> None:
    """Named, ordered, hashed chunks of data, each a superset of the one before.

    \b
    Examples:
      heightpose data iteration new poc --data nursery --share 10%
      heightpose data iteration list
      heightpose data iteration diff poc tucked
    """


def _share(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    text = value.strip()
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 < share <= 1.0:
        raise click.BadParameter("expected a share such as 10% or 0.1, above 0 and up to 100%")
    return share


def _where(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    wanted: dict[str, tuple[str, ...]] = {}
    for value in values:
        stratum, sign, text = (part.strip() for part in value.partition("="))
        if not sign or not stratum or not text:
            raise click.BadParameter(f"expected STRATUM=VALUE such as legs=tucked, got '{value}'")
        wanted[stratum] = (*wanted.get(stratum, ()), text)
    return wanted


@iteration.command("new", epilog=NEW_EPILOG)
@click.argument("name")
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), multiple=True,
    help="Data set folder; repeat for several. By default those of the iteration before.",
)  # fmt: skip
@click.option("--share", callback=_share, required=True, help="How much of the pool's children, such as 10%.")
@click.option(
    "--where", callback=_where, multiple=True, metavar="STRATUM=VALUE",
    help="Aim: only children who show it. Several values of a stratum: any; several strata: all of them.",
)  # fmt: skip
@click.option(
    "--advice", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Aim by what heightpose dashboard --advice wrote: every stratum gets its weight's share of the chunk.",
)  # fmt: skip
@click.option("--fill", is_flag=True, help="Top up with other children when too few match --where.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draw.")
@click.option("--testset", multiple=True, help="Test set (name or folder) to hold out; repeat for several.")
@_root
def new(
    name: str, data: tuple[Path, ...], share: float, where: dict[str, tuple[str, ...]],
    advice: Path | None, fill: bool, seed: int, testset: tuple[str, ...], root: Path,
) -> None:  # fmt: skip
    """Draw the next iteration."""
    from heightpose.data.advice import read_advice
    from heightpose.data.draw import draw

    weights = {} if advice is None else read_advice(advice)
    if advice is not None and not weights:
        click.echo(f"{advice} advises nothing yet: drawn at random")
    drawn = draw(
        name, data, share=share, where=where, weights=weights, fill=fill, seed=seed, testsets=testset, root=root
    )  # fmt: skip
    manifest = drawn.manifest
    items = sum(len(entries) for entries in manifest.chunk.values())
    added, pool = drawn.added, drawn.pool
    unnamed = (
        f", +{added.unnamed} of {plural(pool.unnamed, 'file')} of unnamed infants" if pool.unnamed else ""
    )
    click.echo(
        f"{name}: +{added.children} of {plural(pool.children, 'child')}{unnamed}, +{plural(added.empty, 'empty cot')}, "
        f"+{plural(items, 'item')}, hash {manifest.hash[:12]}"
    )
    if added.children + added.unnamed < drawn.wanted:
        hint = "; add --fill to top up with others" if where and not fill else ""
        click.echo(f"fewer than the {drawn.wanted} that {_percent(share)} asks for were left{hint}")
    for key, (have, wanted) in drawn.short.items():
        click.echo(
            f"{key}: {have} of the {plural(wanted, 'child')} that the advice asks for were left; others instead"
        )
    if drawn.left_out:
        some = ", ".join(drawn.left_out[:5]) + (", ..." if len(drawn.left_out) > 5 else "")
        click.echo(f"left out, held by a frozen test set: {len(drawn.left_out)} ({some})")
    if drawn.unsplit:
        click.echo(f"left out, not in the splits train or val: {plural(drawn.unsplit, 'item')}")
    for stratum, count in drawn.unknown.items():
        click.echo(f"{stratum} is unknown for {plural(count, 'infant')}")
    click.echo(f"Saved to {manifest.path}")


def _percent(share: float) -> str:
    """As it was given: a small chunk of a large pool is less than one per cent."""
    return f"{100 * share:.4g}%"


@iteration.command("list")
@_root
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(root: Path, as_json: bool) -> None:
    """The iterations in order, with what each adds and their hashes."""
    from heightpose.data.iterations import manifests

    rows: list[dict] = []
    total = 0
    for manifest in manifests(root):
        added = sum(len(entries) for entries in manifest.chunk.values())
        total += added
        rows.append(
            {
                "order": manifest.order,
                "name": manifest.name,
                "share": manifest.share,
                "where": {k: list(v) for k, v in manifest.where.items()},
                "weights": manifest.weights,
                "added": added,
                "items": total,
                "created": manifest.created,
                "hash": manifest.hash,
                "testsets": [f"{t.name} {t.version}" for t in manifest.testsets],
            }
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo(f"no iterations in {root}")
    else:
        click.echo(f"{'':<4}{'name':<20}{'share':>6}{'added':>8}{'items':>8}  {'hash':<14}{'created':<21}aim")
        for row in rows:
            aim = ", ".join(f"{k}={'|'.join(v)}" for k, v in row["where"].items())
            aim = aim or ", ".join(f"{k} {w:.0%}" for k, w in row["weights"].items()) or "all"
            click.echo(
                f"{row['order']:<4}{row['name']:<20}{_percent(row['share']):>6}{row['added']:>8}{row['items']:>8}  "
                f"{row['hash'][:12]:<14}{row['created'][:19]:<21}{aim}"
            )


@iteration.command("show")
@click.argument("name")
@_root
@click.option("--verify", is_flag=True, help="Check the bytes of all pictures too, as training does.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(name: str, root: Path, verify: bool, as_json: bool) -> None:
    """Children, items and strata of an iteration: what it adds beside all it holds."""
    from heightpose.data.iterations import load
    from heightpose.data.strata import counts_of, strata_table, table_lines

    loaded = load(name, root, pictures=verify)
    sides = {"added": loaded.added, "all": loaded.items}
    counts = {side: counts_of(items) for side, items in sides.items()}
    tables = {side: strata_table(items) for side, items in sides.items()}
    if as_json:
        parts = {side: {"counts": counts[side], "strata": _named(tables[side])} for side in sides}
        click.echo(json.dumps({"name": name, "hash": loaded.hash, **parts}, indent=2))
        return
    click.echo(f"{name}  {loaded.hash}")
    for side, count in counts.items():
        click.echo(
            f"{side:>6}: {plural(count['children'], 'child')}, {plural(count['items'], 'item')} "
            f"({count['train']} train, {count['val']} val), {plural(count['empty'], 'empty cot')}"
        )
    click.echo("\n".join(table_lines([(s, tables[s], counts[s]["labelled"]) for s in sides])))
    click.echo("labels and pictures are unchanged" if verify else "labels are unchanged")


@iteration.command("diff")
@click.argument("first")
@click.argument("second")
@_root
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def diff(first: str, second: str, root: Path, as_json: bool) -> None:
    """What SECOND holds that FIRST does not, and the other way; how the strata shift."""
    from heightpose.data.iterations import load
    from heightpose.data.strata import counts_of, strata_table, table_lines

    one, two = load(first, root, pictures=False), load(second, root, pictures=False)
    keys = [{(i.path, i.frame, i.id): i for i in side.items} for side in (one, two)]
    added = [item for key, item in keys[1].items() if key not in keys[0]]
    removed = [item for key, item in keys[0].items() if key not in keys[1]]
    tables = {first: strata_table(one.items), second: strata_table(two.items)}
    counts = {first: counts_of(one.items), second: counts_of(two.items)}
    if as_json:
        document = {
            "added": [{"id": i.id, "picture": str(i.path), "frame": i.frame} for i in added],
            "removed": [{"id": i.id, "picture": str(i.path), "frame": i.frame} for i in removed],
            "strata": {side: _named(table) for side, table in tables.items()},
        }
        click.echo(json.dumps(document, indent=2))
        return
    for sign, items in (("+", added), ("-", removed)):
        count = counts_of(items)
        click.echo(f"{sign}{plural(count['items'], 'item')}, {sign}{plural(count['children'], 'child')}")
        for item in items[:10]:
            click.echo(f"  {sign} {item.id:>6}  {item.name}")
        if len(items) > 10:
            click.echo(f"  {sign} ... and {len(items) - 10} more (--json lists all)")
    click.echo("\n".join(table_lines([(s, tables[s], counts[s]["labelled"]) for s in (first, second)])))


def _named(table: dict[str, dict[str, tuple[int, int]]]) -> dict:
    return {s: {v: {"children": c, "items": i} for v, (c, i) in row.items()} for s, row in table.items()}
