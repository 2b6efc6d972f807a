"""From `package.module[:name]` to the application declared there."""

import importlib
import os
import sys
import traceback
from types import ModuleType

from choros.app.app import App
from choros.errors import ChorosError, UsageError


def load_app(reference: str) -> App:
    """Import the module (or its submodule `app`) and return its App, under the namespace of CHOROS_NAMESPACE if that
    is set. Raises UsageError, or the module's own DeclarationError."""
    app = _load(reference)
    namespace = os.environ.get("CHOROS_NAMESPACE")
    return app.within(namespace) if namespace else app


def _load(reference: str) -> App:
    module_name, _, attribute = reference.partition(":")
    _check_name(reference, module_name)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a user's own modules, as with `python -m`
    module = _import(module_name)
    if attribute:
        found = getattr(module, attribute, None)
        return found if isinstance(found, App) else _none(reference, f"{attribute} is no App")
    found = _only_app(module) or _only_app(_import(f"{module_name}.app", optional=True))
    return found or _none(reference, "no App in it")


def _import(name: str, *, optional: bool = False) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if optional and error.name in (name, name.rpartition(".")[0]):
            return None
        absent = f"{name}.".startswith(f"{error.name}.")
        missing = "there is no such module" if absent else f"it needs {error.name!r}"
        hint = "package.module, from the folder that it is in."
        raise UsageError(f"{name} cannot be loaded: {missing}.", hint) from None
    except ChorosError:
        raise
    except (Exception, SystemExit) as error:
        hint = f"python -c 'import {name}' shows all of it."
        raise UsageError(f"{name} cannot be loaded: {_what_happened(error)}.", hint) from error


def _check_name(reference: str, module: str) -> None:
    """A path, or nothing at all, is no module; say what was meant."""
    path = module.removesuffix(".py")
    if path != module or "/" in module:
        parts = os.path.relpath(path or ".").split("/")
        meant = parts[-1] if ".." in parts else ".".join(parts)
        raise UsageError(f"{reference} is a path; a module is wanted.", f"{meant}{reference[len(module) :]}")
    if not all(module.split(".")):
        raise UsageError(f"{reference!r} names no module.", "package.module, or package.module:name.")


def _what_happened(error: BaseException) -> str:
    """On one line, and where: a SyntaxError says so itself."""
    said = " ".join(str(error).split())
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return what
    return f"{what} ({frames[-1].filename}:{frames[-1].lineno})"


def _only_app(module: ModuleType | None) -> App | None:
    apps = list({id(v): v for v in vars(module).values() if isinstance(v, App)}.values()) if module else []
    if len(apps) > 1:
        raise UsageError("There are several Apps in this module.", "name one: module:name.")
    return apps[0] if apps else None


def _none(reference: str, why: str) -> App:
    raise UsageError(f"{reference}: {why}.", "declare app = App(...), and name it: package.module:app.")
