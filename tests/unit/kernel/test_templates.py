from enum import StrEnum
from importlib import resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from roadstead.kernel import templates
from roadstead.kernel.templates import Template, TemplateError


def template(text: str) -> Template:
    return Template.from_yaml("manifests/test.yaml.j2", text)


POISON = [
    pytest.param('"; kind: Pod', id="a double quote"),
    pytest.param("it's", id="a single quote"),
    pytest.param("a\nkind: Pod\nb", id="newlines and a key"),
    pytest.param("a\r\n\t\x00\x1b", id="control characters"),
    pytest.param("{{ labels }}", id="an expression"),
    pytest.param("{% raw %}{{ 7 * 7 }}", id="a block"),
    pytest.param("}} ~ name ~ {{", id="closing braces"),
    pytest.param("- !!python/object/apply:os.system [id]", id="a YAML tag"),
    pytest.param("&a *a <<: # comment", id="anchors, merges and comments"),
    pytest.param("---\n...\n", id="document markers"),
    pytest.param("yes", id="a word that YAML reads as true"),
    pytest.param("0x1F", id="a number in disguise"),
    pytest.param("~", id="YAML's null"),
    pytest.param("", id="nothing"),
    pytest.param("\\u0041 \\n \\", id="backslashes"),
    pytest.param("ünïcödé 漢字 🚢 \u2028\ufeff", id="unicode"),
    pytest.param("<script>&amp;", id="markup"),
    pytest.param("x" * 10_000, id="ten thousand characters"),
]


@pytest.mark.parametrize("value", POISON)
def test_a_value_never_becomes_structure(value: str) -> None:
    page = template('{name: "{{ value }}", mixed: "a {{ value }} b", map: "{{ map }}", list: ["{{ value }}"]}')
    assert page.render({"value": value, "map": {value: value}}) == {
        "name": value,
        "mixed": f"a {value} b",
        "map": {value: value},
        "list": [value],
    }


@pytest.mark.parametrize("text", [poison for poison in POISON if not set("{}") & set(str(poison.values[0]))])
def test_text_in_a_template_is_taken_as_it_stands(text: str) -> None:
    tree = {"key": text, f"k{text}": 1}
    assert template(yaml.safe_dump(tree, allow_unicode=True)).render({}) == tree


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_comes_through(value: str, other: str) -> None:
    page = template('{a: "{{ value }}", b: "{{ value }}/{{ other }}"}')
    assert page.render({"value": value, "other": other}) == {"a": value, "b": f"{value}/{other}"}


class Colour(StrEnum):
    RED = "Red"


def test_whole_expressions_keep_their_type() -> None:
    page = template(
        '{n: "{{ n }}", truth: "{{ truth }}", map: "{{ map }}", enum: "{{ enum }}", text: "{{ n | text }}"}'
    )
    values = {"n": 7, "truth": True, "map": {"a": [1, {"b": 2.5}]}, "enum": Colour.RED}
    rendered = page.render(values)
    assert rendered == {"n": 7, "truth": True, "map": {"a": [1, {"b": 2.5}]}, "enum": "Red", "text": "7"}
    assert type(rendered["enum"]) is str


def test_what_is_rendered_shares_nothing_with_what_was_given() -> None:
    labels = {"a": "b"}
    page = template('{one: "{{ labels }}", two: "{{ labels }}"}')
    rendered = page.render({"labels": labels})
    rendered["one"]["a"] = "changed"
    assert (labels, rendered["two"]) == ({"a": "b"}, {"a": "b"})
    assert page.render({"labels": labels})["one"] == {"a": "b"}


def test_a_constant_part_is_not_shared_between_two_renderings() -> None:
    page = template("{spec: {ports: [{port: 1}]}}")
    page.render({})["spec"]["ports"][0]["port"] = 2
    assert page.render({}) == {"spec": {"ports": [{"port": 1}]}}


@pytest.mark.parametrize("nothing", [None, {}, [], ()])
def test_optional_leaves_out_what_is_not_there(nothing: object) -> None:
    page = template('{kept: 1, gone: "{{ value | optional }}", list: [a, "{{ value | optional }}", b]}')
    assert page.render({"value": nothing}) == {"kept": 1, "list": ["a", "b"]}


@pytest.mark.parametrize("something", [0, False, "", "x", [0], {"a": ""}])
def test_optional_keeps_what_is_there(something: object) -> None:
    assert template('{a: "{{ value | optional }}"}').render({"value": something}) == {"a": something}


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        pytest.param(
            '{spec: {a: "{{ v }}"}}', {"v": {}}, "spec.a is an empty map; leave the key out", id="an empty map"
        ),
        pytest.param('{spec: [{a: "{{ v }}"}]}', {"v": []}, "spec.0.a is an empty list", id="an empty list"),
        pytest.param(
            '{a: "{{ v }}"}', {"v": {"b": {"c": []}}}, "a.b.c is an empty list", id="empty deep inside a value"
        ),
        pytest.param(
            '{spec: {a: "{{ v | optional }}"}}', {"v": None}, "spec is an empty map", id="a map that lost its only key"
        ),
        pytest.param('{a: "{{ v }}"}', {"v": None}, "a is null; hand over a value or write `| optional`", id="None"),
        pytest.param('{a: "{{ v }}"}', {}, "'v' is undefined", id="an unknown variable"),
        pytest.param('{a: "{{ v | optional }}"}', {}, "'v' is undefined", id="an unknown variable that is optional"),
        pytest.param('{a: "x{{ v }}"}', {}, "'v' is undefined", id="an unknown variable in a text"),
        pytest.param('{a: "{{ v.b }}"}', {"v": {}}, "has no attribute 'b'", id="an unknown attribute"),
        pytest.param('{a: "x{{ v }}"}', {"v": None}, "NoneType inside a text", id="None in a text"),
        pytest.param('{a: "x{{ v }}"}', {"v": True}, "bool inside a text", id="true in a text"),
        pytest.param('{a: "{{ v }}"}', {"v": {1: "b"}}, "not a string", id="a key that is a number"),
        pytest.param('{a: "{{ v }}"}', {"v": object()}, "a is a object", id="something that JSON does not have"),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_path(text: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(TemplateError) as refused:
        template(text).render(values)
    assert "manifests/test.yaml.j2: " in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{a: {b: []}}", "a.b: an empty list", id="an empty list"),
        pytest.param("{a: {}}", "a: an empty map", id="an empty map"),
        pytest.param("{a: ~}", "a: null; leave the key out", id="null"),
        pytest.param('{a: "{% if x %}"}', "blocks and comments are not available", id="a block"),
        pytest.param('{a: "{{ x }"}', "unbalanced braces", id="braces that do not match"),
        pytest.param('{a: "{{ x + }}"}', "manifests/test.yaml.j2", id="an expression that does not parse"),
        pytest.param("{a: {{ x }}}", "put expressions in double quotes", id="an expression without quotes"),
        pytest.param("a: [", "not YAML", id="not YAML"),
        pytest.param("- a", "write one map", id="a list"),
        pytest.param("{1: a}", "keys must be strings", id="a key that is a number"),
    ],
)
def test_a_wrong_template_is_refused_when_it_is_loaded(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as refused:
        template(text)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "expression",
    [
        "'x' * 300000000",
        "cycler.__init__.__globals__.os.popen('id').read()",
        "name.__class__",
        "name.format('x')",
        "name | upper",
        "name | text | text",
        "range(10)",
        "[name]",
        "1",
        "",
        "name if name else name",
    ],
)
def test_an_expression_is_a_variable_and_nothing_else(expression: str) -> None:
    """Stored revisions hold templates: who can write one must not be able to have the operator compute anything."""
    with pytest.raises(TemplateError, match="write a variable"):
        Template.from_yaml("t", f"a: >-\n  {{{{ {expression} }}}}")


def test_comments_and_layout_are_not_part_of_the_digest() -> None:
    one = template('# why\nb: "{{ x }}"   # here\na: 1\n')
    two = template('{a: 1, b: "{{ x }}"}')
    assert one.digest == two.digest != template('{a: 2, b: "{{ x }}"}').digest


def test_a_stored_source_gives_the_same_template() -> None:
    first = template('{a: "{{ x }}-{{ y | text }}", b: ["{{ z | optional }}", c]}')
    values = {"x": "p", "y": 3, "z": None}
    assert Template("stored", first.source).render(values) == first.render(values)
    assert templates.compiled("stored", first.source) is templates.compiled("stored", first.source)


def test_the_templates_of_the_room_are_found_and_digested() -> None:
    chat = templates.load("chat")
    assert "deployment" in chat.names
    assert len({chat.digest, chat.digest_of("pod"), chat.digest_of("deployment", "pod")}) == 3
    with pytest.raises(TemplateError, match="there is no template 'nosuch'"):
        chat["nosuch"]


def test_a_room_without_templates_is_an_error() -> None:
    with pytest.raises(TemplateError, match=r"no \*\.yaml\.j2 in"):
        templates.load("nosuchroom")


def test_an_installed_package_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "_data" / "manifests" / "harbour"
    room.mkdir(parents=True)
    (room / "pier.yaml.j2").write_text("kind: Pier\n")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert templates.load("harbour")["pier"].render({}) == {"kind": "Pier"}
