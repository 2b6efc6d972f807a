"""What the front door says when something is wrong: problem details, RFC 9457."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from choros import ChorosError, SagaNotFound, StartConflict, Unreachable

PROBLEM = "application/problem+json"
MEANINGS = {
    404: "There is no such order.",
    405: "The path knows other methods; `Allow` names them.",
    409: "Another order has this id.",
    413: "This is more than an order may say.",
    415: "The body is not called JSON.",
    422: "This is no order; `errors` points at every mistake.",
    503: "A server does not answer. Send it again: an order is taken once.",
}
"""What each status says to a customer."""
HEADERS = {405: "Allow", 503: "Retry-After"}


class Mistake(BaseModel):
    """What is wrong with one field."""

    detail: str
    pointer: str
    """A JSON pointer to it."""


class Problem(BaseModel):
    """Problem details, without a `type`: the status says it all."""

    title: str
    status: int
    detail: str = ""
    errors: list[Mistake] = []


class BodyTooLarge(Exception):
    """More than any order needs."""


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For /docs: the problems that may be answered."""
    schema = Problem.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["Mistake"]
    return {status: _described(status, schema) for status in statuses}


def _described(status: int, schema: dict[str, Any]) -> dict[str, Any]:
    described = {"description": MEANINGS[status], "content": {PROBLEM: {"schema": schema}}}
    header = HEADERS.get(status)
    return described | ({"headers": {header: {"schema": {"type": "string"}}}} if header else {})


def problem(
    status: int, title: str, detail: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The answer for one problem."""
    content = {"title": title, "status": status, **({"detail": detail} if detail else {}), **more}
    waiting = {"Retry-After": "1"} if status == 503 else {}
    return JSONResponse(content, status, {**waiting, **(headers or {})}, media_type=PROBLEM)


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
        return problem(error.status_code, str(error.detail), headers=error.headers)


def _errors(error: ValidationError | RequestValidationError) -> list[dict[str, str]]:
    found = [{"detail": str(fault["msg"]), "pointer": _pointer(fault["loc"])} for fault in error.errors()]
    # Wrong items are missing from their list, which then seems too short: that is no second mistake.
    within = {other["pointer"].rpartition("/")[0].rpartition("/")[0] for other in found}
    return [one for one in found if not one["pointer"] or one["pointer"] not in within]


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer to the field."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)
