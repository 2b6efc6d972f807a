"""What the front door says when something is wrong: problem details, RFC 9457."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from choros import SagaNotFound, StartConflict
from choros.errors import ChorosError, Unreachable


class BodyTooLarge(Exception):
    """More than any order needs."""


def problem(status: int, title: str, detail: str = "", **more: Any) -> JSONResponse:
    """The answer for one problem."""
    content = {"title": title, "status": status, **({"detail": detail} if detail else {}), **more}
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def add_problems(http: FastAPI) -> None:
    """Answer every error of this application with problem details."""

    @http.exception_handler(ValidationError)
    @http.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: ValidationError | RequestValidationError) -> JSONResponse:
        return problem(422, "This is no order.", errors=_errors(error))

    @http.exception_handler(ChorosError)
    async def refused(request: Request, error: ChorosError) -> JSONResponse:
        match error:
            case StartConflict():
                return problem(409, "Another order has this id.")
            case SagaNotFound():
                return problem(404, "There is no such order.")
            case Unreachable():
                return problem(503, "The order cannot be taken at the moment.", "Send it again: it is taken once.")
        return problem(500, "The order cannot be taken.")  # its sentence may name servers: not for customers

    @http.exception_handler(BodyTooLarge)
    async def too_large(request: Request, error: BodyTooLarge) -> JSONResponse:
        return problem(413, "This is more than an order may say.")

    @http.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))


def _errors(error: ValidationError | RequestValidationError) -> list[dict[str, str]]:
    found = [{"detail": str(fault["msg"]), "pointer": _pointer(fault["loc"])} for fault in error.errors()]
    # Wrong items are missing from their list, which then seems too short: that is no second mistake.
    within = {other["pointer"].rpartition("/")[0].rpartition("/")[0] for other in found}
    return [one for one in found if not one["pointer"] or one["pointer"] not in within]


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer to the field."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)
