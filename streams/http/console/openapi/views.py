"""OpenAPI paths of saved views."""

from __future__ import annotations

from typing import Any

from streams.http.console.access.saved_views import ADDRESS_MAX, NAME_MAX
from streams.http.openapi import COUNT, POST_PROBLEMS, TEXT, array, get, obj, post


def views() -> dict[str, Any]:
    one = obj({"id": TEXT, "name": TEXT, "address": TEXT, "saved_ms": COUNT})
    name = {"type": "string", "minLength": 1, "maxLength": NAME_MAX}
    address = {"type": "string", "maxLength": ADDRESS_MAX}
    refused = (*POST_PROBLEMS, "409")
    return {
        "/api/views": {
            "get": get("views", "Views that the caller's token saved.", obj({"views": array(one)})),
            "post": post(
                *("save_view", "Name an address of a page; the same name again replaces it."),
                {"200": one},
                obj({"name": name, "address": address}),
                problems=refused,
            ),
        },
        "/api/views/delete": {
            "post": post(
                *("delete_view", "Delete one of the views of the caller's token."),
                {"200": obj({"deleted": TEXT})},
                obj({"id": TEXT}),
                problems=(*POST_PROBLEMS, "404"),
            ),
        },
    }
