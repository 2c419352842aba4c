"""`vitrine keygen`: make the key pair of an issuer or of a holder."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import output


def keygen(
    kind: Annotated[Literal["issuer", "holder"], typer.Argument(help="issuer signs tokens; holder is a phone")],
    out: Annotated[Path | None, typer.Option(help="file of the private key; the public one lies beside it")] = None,
    form: Annotated[Literal["pem", "cose"], typer.Option("--format", help="form of the public key")] = "pem",
    force: Annotated[bool, typer.Option("--force", help="overwrite existing files")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Make an Ed25519 key pair: KIND.pem, for you only, and KIND.pub.pem, to be given away."""
    from .. import keys

    private_path = out or Path(f"{kind}.pem")
    public_path = output.beside(private_path, ".pub.pem" if form == "pem" else ".pub.cose")
    if not force and public_path.exists():
        raise keys.KeyFileError(f"{public_path} is already there: choose another name, or overwrite it with --force")
    key = keys.PrivateKey.generate()
    key.save(private_path, is_forced=force)
    data = key.public.to_pem() if form == "pem" else key.public.to_cose()
    keys.write_new(public_path, data, mode=0o644, is_forced=force)
    if as_json:
        output.print_json(
            {
                "kind": kind,
                "private_key_file": str(private_path),
                "public_key_file": str(public_path),
                "public_key": key.public.raw.hex(),
                "kid": key.public.kid.hex(),
            }
        )
        return
    output.print_line(f"New {kind} key.")
    output.print_fields(
        [
            ("private key", f"{private_path}  (keep it secret; only you can read it)"),
            ("public key", str(public_path)),
            ("kid", key.public.kid.hex()),
        ]
    )
