def html(greeting: str) -> str:
    return f"<!doctype html>\n<title>{greeting}</title>\n<h1>{greeting}</h1>\n"
