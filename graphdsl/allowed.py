"""Attribute values that the standard lists one by one, and that neither its checker nor its inference enforces."""


def allowed_values(domain: str, operator: str, attribute: str, since: int) -> tuple[str, ...] | None:
    """The values that an operator of this version allows for a text attribute, or None where any will do."""
    return None
