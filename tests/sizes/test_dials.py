"""What a size sets: several arguments by expressions, the rows of a table, the keys of a config."""

import dataclasses
import itertools
import json

import pytest
from stacks import LooseConfig, PlainStack, Stack, StackConfig, Stages, stack_params

from flops_fit import SizeMap, build_size_map, plan_from_size_map, plan_sweep
from flops_fit.errors import FlopsFitWarning, ModelContractError, PlanError

SHAPE = {"width": "8*depth", "hidden": "8*width/3 rounded to 32", "heads": "depth"}
ROWS = [
    {"label": "S", "width": 8, "depth": 2, "hidden": 32},
    {"label": "M", "width": 8, "depth": 4, "hidden": 32},
    {"label": "L", "width": 24, "depth": 4, "hidden": 96},
    {"label": "XL", "width": 32, "depth": 6, "hidden": 128},
]
BUDGETS = [1e8, 1e9]


def row_params(row):
    return stack_params(row["width"], row["depth"], row["hidden"])


def by_label(rows, size_param=None, **more):
    return build_size_map(PlainStack, size_param, sizes=rows, **more)


class TestExpressions:
    def test_every_size_has_all_of_its_arguments(self):
        size_map = build_size_map(PlainStack, "depth", sizes=SHAPE, max_size=48)
        assert size_map.entries[0].size == 1
        assert size_map.entries[-1].size == 48
        for entry in size_map.entries:
            width = 8 * entry.size
            hidden = 32 * ((2 * 8 * width + 3 * 32) // (2 * 3 * 32))  # to the nearest multiple of 32, in whole numbers
            assert entry.arguments == {"width": width, "hidden": hidden, "heads": entry.size}
            assert entry.num_params == stack_params(width, entry.size, hidden)
        assert size_map.argument_names == ("width", "hidden", "heads")
        assert SizeMap.from_dict(json.loads(json.dumps(size_map.to_dict()))) == size_map

    def test_their_order_does_not_matter(self):
        maps = [
            build_size_map(PlainStack, "depth", sizes=dict(order), max_size=8)
            for order in itertools.permutations(SHAPE.items())
        ]
        assert all(size_map.to_dict() == maps[0].to_dict() for size_map in maps)

    def test_the_size_may_be_no_argument_of_the_model(self):
        sizes = {"width": "16*dial", "depth": "2*dial", "hidden": 64}
        size_map = build_size_map(PlainStack, "dial", sizes=sizes, max_size=30)
        assert [entry.num_params for entry in size_map.entries[:2]] == [
            stack_params(16, 2, 64),
            stack_params(32, 4, 64),
        ]
        assert "dial is no argument of PlainStack: it sets width, depth, hidden alone" in size_map.notes

    def test_a_size_that_is_nearly_an_argument_is_doubted(self):
        with pytest.warns(FlopsFitWarning, match=r'if depth is meant, give size_param = "depth"'):
            build_size_map(PlainStack, "depths", sizes={"width": "16*depths"}, max_size=30)

    def test_numbers_among_the_other_arguments_may_be_named(self):
        size_map = build_size_map(PlainStack, "depth", {"hidden": 48}, sizes={"width": "hidden/2*depth"}, max_size=9)
        assert [entry.num_params for entry in size_map.entries] == [stack_params(24 * d, d, 48) for d in range(1, 10)]

    def test_what_lies_between_neighbouring_sizes_asks_for_a_finer_dial(self):
        size_map = build_size_map(PlainStack, "depth", sizes={"width": "64*depth", "hidden": "4*width"}, max_size=9)
        plan = plan_from_size_map(size_map, [1e13])
        reasons = [point.reason for point in plan.dropped]
        assert any(
            "depth=1 and 2 are next to each other; raise the budget, or set the size by" in each for each in reasons
        )

    @pytest.mark.parametrize(
        ("text", "width"),
        [
            ("8*depth", lambda depth: 8 * depth),
            ("min(8*depth, 64)", lambda depth: min(8 * depth, 64)),
            ("max(8*depth, 64)", lambda depth: max(8 * depth, 64)),
        ],
    )
    def test_what_is_too_heavy_to_build_is_extrapolated_up_to_a_bend(self, text, width, monkeypatch):
        """Sizes up to 6 are built as they are, above by a polynomial where it still holds, with a bend at 8."""
        import flops_fit.sizes.fallbacks as fallbacks

        build = fallbacks.build_and_count
        monkeypatch.setattr(
            fallbacks, "build_and_count",
            lambda request, size, **how: dataclasses.replace(build(request, size, **how), work=10_000 * (size > 6)),
        )  # fmt: skip
        size_map = build_size_map(PlainStack, "depth", sizes={"width": text}, max_size=40)
        for entry in size_map.entries:
            assert entry.num_params == stack_params(width(entry.size), entry.size)
        sources = {entry.source for entry in size_map.entries if entry.size > 12}
        assert ("polynomial" in sources) == (text == "8*depth")

    def test_only_multiples_of_the_dial(self):
        size_map = build_size_map(PlainStack, "depth", sizes=SHAPE, size_multiple=4, max_size=50)
        assert [entry.size for entry in size_map.entries] == list(range(4, 49, 4))

    def test_sizes_where_an_argument_is_not_whole_are_left_out_and_named(self):
        with pytest.warns(
            FlopsFitWarning, match=r'such as depth=1: hidden = "16\*depth/3" is 5.33333, which is not wh'
        ):
            size_map = build_size_map(PlainStack, "depth", sizes={"width": 8, "hidden": "16*depth/3"}, max_size=20)
        assert [entry.size for entry in size_map.entries] == [3, 6, 9, 12, 15, 18]
        assert any('write "round(16*depth/3)"' in item.reason for item in size_map.skipped)
        assert "if only multiples of 3 are meant, give size_multiple = 3" in size_map.notes[-1]
        asked = build_size_map(
            PlainStack, "depth", sizes={"width": 8, "hidden": "16*depth/3"}, max_size=20, size_multiple=3
        )
        assert asked.entries == size_map.entries

    def test_if_none_is_whole_the_error_says_what_to_write(self):
        with pytest.raises(ModelContractError, match=r'no valid size .* write "round\(depth \+ 0.5\)"'):
            build_size_map(PlainStack, "depth", sizes={"width": "depth + 0.5"}, max_size=20)

    def test_sizes_that_the_model_refuses_are_skipped(self):
        size_map = build_size_map(PlainStack, "depth", sizes={"width": "8*depth", "heads": "16"}, max_size=20)
        assert {entry.size % 2 for entry in size_map.entries} == {0}
        assert "no multiple of 16 heads" in size_map.skipped[0].reason

    @pytest.mark.parametrize(
        ("sizes", "said"),
        [
            ({"width": "64*dept"}, r'sizes.width = "64\*dept" has an unknown name \'dept\'; did you mean \'depth\'\?'),
            (
                {"width": "2*hidden", "hidden": "heads", "heads": "width"},
                "width needs hidden needs heads needs width; give one",
            ),
            ({"width": "width"}, "width needs width; give one of them without the others, such as width = "),
            ({"depth": "3"}, "sizes has depth, which is the size parameter; take it out"),
            ({"width": "8*depth", "hiden": "8"}, "PlainStack takes no argument 'hiden'; did you mean 'hidden'?"),
            ({"width": "8*depth", "heads": True}, "sizes.heads = True must be an expression"),
            ({"two words": "8"}, "sizes has 'two words', which must be the name of an argument"),
            ({}, "sizes = {} must be expressions by name"),
            ("8*depth", r"sizes = '8\*depth' must be expressions by name"),
        ],
    )
    def test_what_they_cannot_be_is_said(self, sizes, said):
        with pytest.raises(ModelContractError, match=said):
            build_size_map(PlainStack, "depth", sizes=sizes)

    def test_an_argument_is_set_once(self):
        with pytest.raises(ModelContractError, match="sizes and kwargs both set width; take it out of one of them"):
            build_size_map(PlainStack, "depth", {"width": 3}, sizes={"width": "8*depth"})
        with pytest.raises(ModelContractError, match="sets depth = 3, which is the size parameter"):
            build_size_map(PlainStack, "depth", {"depth": 3}, sizes={"width": "8*depth"})

    def test_a_size_that_sets_nothing_is_refused(self):
        with pytest.raises(ModelContractError, match=r"size_param = 'dial' sets nothing: .* such as '64\*dial'"):
            build_size_map(PlainStack, "dial", sizes={"width": "64"})

    def test_a_study_of_sizes_needs_a_name_for_them(self):
        with pytest.raises(ModelContractError, match="size_param = None must be the name of the argument"):
            build_size_map(PlainStack, sizes={"width": "64*depth"})
        with pytest.raises(ModelContractError, match='size_param = "row" with sizes'):
            build_size_map(PlainStack, "row", sizes={"width": "64*row"})


class TestTables:
    def test_every_row_is_a_size_with_its_label(self):
        size_map = by_label(ROWS)
        assert [(entry.label, entry.num_params) for entry in size_map.entries] == [
            (row["label"], row_params(row)) for row in ROWS
        ]
        assert size_map.label(size_map.entries[0]) == "S, 1.10k parameters"
        assert size_map.entries[2].arguments == {"width": 24, "depth": 4, "hidden": 96}
        assert SizeMap.from_dict(json.loads(json.dumps(size_map.to_dict()))) == size_map

    def test_rows_need_no_label(self):
        rows = [{name: value for name, value in row.items() if name != "label"} for row in ROWS]
        assert [entry.label for entry in by_label(rows).entries] == ["row 1", "row 2", "row 3", "row 4"]

    def test_an_argument_that_tells_rows_apart_may_be_the_size(self):
        rows = [{"width": width, "depth": width // 8} for width in (8, 16, 32)]
        size_map = by_label(rows, "width")
        assert [(entry.size, entry.arguments) for entry in size_map.entries] == [
            (8, {"depth": 1}), (16, {"depth": 2}), (32, {"depth": 4})
        ]  # fmt: skip
        assert [entry.num_params for entry in size_map.entries] == [stack_params(w, w // 8) for w in (8, 16, 32)]
        plan = plan_from_size_map(size_map, [1e8], num_sizes_per_budget=3)
        assert plan.experiments[0].experiment_id.startswith("c1e+08-width8-s0-")

    def test_rows_hold_lists_and_text(self):
        rows = [{"widths": [8, 16], "activation": "tanh"}, {"widths": [16, 32], "activation": "relu"}]
        size_map = build_size_map(Stages, sizes=rows)
        assert [entry.num_params for entry in size_map.entries] == [6 * 8 + 8 * 16 + 4 * 16, 6 * 16 + 16 * 32 + 4 * 32]

    def test_a_row_that_the_model_refuses_is_skipped_by_its_label(self):
        said = "row odd of sizes is left out: ValueError: width 9 is no multiple of 4 heads; change it, or take"
        with pytest.warns(FlopsFitWarning, match=said):
            size_map = by_label(
                [*ROWS, {"label": "odd", "width": 9, "depth": 4, "hidden": 32}], model_kwargs={"heads": 4}
            )
        (skipped,) = size_map.skipped
        assert (skipped.label, skipped.reason) == ("odd", "ValueError: width 9 is no multiple of 4 heads")

    def test_rows_that_are_all_refused_or_all_alike_say_so(self):
        with pytest.raises(
            ModelContractError, match=r"no row of sizes is valid for PlainStack; at XL: ValueError: width 32"
        ):
            by_label(ROWS, model_kwargs={"heads": 5})
        alike = [{"widths": [8], "activation": name} for name in ("tanh", "relu")]
        with pytest.raises(
            ModelContractError, match="Stages has 80 parameters at every row of sizes; give rows that di"
        ):
            build_size_map(Stages, sizes=alike)

    def test_rows_of_equal_parameters_are_one_size(self):
        with pytest.warns(FlopsFitWarning, match="row deep of sizes is left out: as many parameters as M; change it"):
            size_map = by_label([*ROWS, {"label": "deep", "width": 8, "depth": 8, "hidden": 16}])
        (skipped,) = size_map.skipped
        assert (skipped.label, skipped.reason) == ("deep", "as many parameters as M")

    def test_what_is_missing_at_a_budget_asks_for_a_row(self):
        plan = plan_from_size_map(by_label(ROWS), [1e9], num_sizes_per_budget=7, span=3)
        reasons = [point.reason for point in plan.dropped]
        assert any("in the table of sizes; give a row there" in reason for reason in reasons)
        assert any("the smallest is S" in reason and "give smaller rows in sizes" in reason for reason in reasons)

    def test_a_table_has_its_place_in_no_id(self):
        names = {}
        for rows in (
            ROWS,
            ROWS[::-1],
            [ROWS[1], ROWS[3], ROWS[0], ROWS[2]],
            [row | {"label": "x" + row["label"]} for row in ROWS],
        ):
            plan = plan_sweep(PlainStack, None, None, BUDGETS, sizes=rows, span=2, num_sizes_per_budget=4)
            names[str(rows)] = [item.experiment_id for item in plan.experiments]
        assert len({tuple(found) for found in names.values()}) == 1
        assert next(iter(names.values()))[0].startswith("c1e+08-width8-depth2-hidden32-s0-")

    def test_another_value_in_a_row_changes_the_ids_of_that_row_alone(self):
        other = [ROWS[0], ROWS[1], ROWS[2] | {"hidden": 97}, ROWS[3]]
        before, after = (
            {
                item.experiment_id: item.label
                for item in plan_sweep(PlainStack, None, None, BUDGETS, sizes=rows).experiments
            }
            for rows in (ROWS, other)
        )
        changed = before.keys() ^ after.keys()
        assert {(before | after)[name] for name in changed} == {"L"}
        assert before.keys() & after.keys()

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ([{"width": 8}], r"sizes has 1 row\(s\), and a study compares sizes; give more"),
            ([], r"sizes has 0 row\(s\)"),
            ([{"width": 8}, 3], "row 2 of sizes = 3 must be arguments by name"),
            ([{"width": 8}, {"width": 16, "depth": 3}], "row 2 has depth, and row 1 has not; give every row the same"),
            ([{"width": 8, "depth": 3}, {"width": 16}], "row 1 has depth, and row 2 has not"),
            ([{"width": 8}, {"width": 8}], "rows 1 and 2 of sizes have the same arguments as another row"),
            ([{"width": 8, "label": "S"}, {"width": 9, "label": "S"}], "rows 1 and 2 of sizes have label 'S'"),
            (
                [{"width": 8, "label": "S" * 25}, {"width": 9}],
                "label = 'S+', which must be text of at most 24 characters",
            ),
            ([{"width": 8, "label": ""}, {"width": 9}], "label = '', which must be text"),
            ([{"width": 8}, {"width": {"a": 3}}], "row 2 of sizes has width = {'a': 3}, which must be a number"),
            ([{"label": "S"}, {"label": "M"}], "row 1 of sizes is empty"),
            ([{"widht": 8}, {"widht": 16}], "PlainStack takes no argument 'widht'; did you mean 'width'?"),
        ],
    )
    def test_what_they_cannot_be_is_said(self, rows, said):
        with pytest.raises(ModelContractError, match=said):
            by_label(rows)

    def test_a_size_parameter_must_tell_the_rows_apart(self):
        with pytest.raises(
            ModelContractError, match="several rows with width = 8, which as the size parameter must tell"
        ):
            by_label(ROWS, "width")
        with pytest.raises(ModelContractError, match="row 1 of sizes has heads = None, which must be a whole number"):
            by_label(ROWS, "heads")

    @pytest.mark.parametrize(
        "option", [{"size_multiple": 8}, {"size_values": [8, 16]}, {"min_size": 2}, {"max_size": 9}]
    )
    def test_nothing_else_says_which_sizes_there_are(self, option):
        with pytest.raises(
            PlanError, match=f"{next(iter(option))} = .* with a table of sizes, which are those there are"
        ):
            by_label(ROWS, **option)


class TestConfigs:
    @pytest.mark.parametrize("config", [StackConfig, LooseConfig, lambda **given: StackConfig(**given)])
    def test_sizes_and_arguments_are_those_of_the_config(self, config):
        sizes = {"n_embd": "8*n_layer", "n_hidden": "4*n_embd"}
        size_map = build_size_map(Stack, "n_layer", sizes=sizes, config=config, max_size=30)
        for entry in size_map.entries:
            width = 8 * entry.size
            assert entry.num_params == stack_params(width, entry.size, 4 * width)
        assert size_map.model_name == "Stack"

    def test_a_config_needs_no_expressions(self):
        size_map = build_size_map(Stack, "n_embd", {"n_layer": 3}, config=StackConfig, max_size=64)
        assert all(entry.num_params == stack_params(entry.size, 3) for entry in size_map.entries)

    def test_rows_of_a_config(self):
        rows = [{"n_layer": 2, "n_embd": 16}, {"n_layer": 4, "n_embd": 16}]
        size_map = build_size_map(Stack, sizes=rows, config=StackConfig)
        assert [entry.num_params for entry in size_map.entries] == [stack_params(16, 2), stack_params(16, 4)]

    def test_a_name_that_the_config_does_not_have_is_refused(self):
        with pytest.raises(ModelContractError, match="StackConfig takes no argument 'n_embed'; did you mean 'n_embd'"):
            build_size_map(Stack, "n_layer", sizes={"n_embed": "8*n_layer"}, config=StackConfig)
        with pytest.raises(
            ModelContractError, match="StackConfig takes no argument 'n_layers'; did you mean 'n_layer'"
        ):
            build_size_map(Stack, "n_layers", config=StackConfig)

    def test_a_name_that_the_config_swallows_is_doubted(self):
        sizes = {"n_embd": "8*n_layer", "n_hiden": "4*n_embd"}
        with pytest.warns(
            FlopsFitWarning, match="LooseConfig has no argument 'n_hiden' of its own, though it takes it; did"
        ):
            build_size_map(Stack, "n_layer", sizes=sizes, config=LooseConfig, max_size=9)

    def test_a_name_that_the_config_knows_by_another_is_not(self):
        sizes = {"n_embd": "8*num_layers"}
        size_map = build_size_map(Stack, "num_layers", sizes=sizes, config=LooseConfig, max_size=9)
        assert size_map.entries[-1].num_params == stack_params(72, 9)

    def test_a_config_that_is_made_already_cannot_be_scaled(self):
        with pytest.raises(
            ModelContractError, match=r"config = StackConfig.* must be a class or function that returns"
        ):
            build_size_map(Stack, "n_layer", config=StackConfig())


class TestIdentity:
    def test_ids_follow_what_an_expression_gives_and_not_how_it_is_written(self):
        plans = [
            plan_sweep(PlainStack, "depth", None, BUDGETS, sizes=sizes, max_size=40)
            for sizes in ({"width": "8*depth"}, {"width": "(4 + 4)*depth"}, {"width": "8*max(depth, 4)"})
        ]
        first, same, other = (
            {item.experiment_id: item.size_param_value for item in plan.experiments} for plan in plans
        )
        assert first == same
        kept = first.keys() & other.keys()
        assert {first[name] for name in kept} == {
            size for size in first.values() if size >= 4 and size in other.values()
        }
        assert min(first.values()) < 4

    def test_a_config_is_part_of_an_id(self):
        ids = [
            plan_sweep(Stack, "n_embd", None, BUDGETS, config=config, max_size=64).experiments[0].experiment_id
            for config in (StackConfig, LooseConfig)
        ]
        assert ids[0] != ids[1]

    def test_arguments_that_are_set_are_part_of_an_id(self):
        plain = plan_sweep(PlainStack, "depth", {"width": 8}, BUDGETS, max_size=40, size_values=range(1, 41))
        dialled = plan_sweep(PlainStack, "depth", None, BUDGETS, sizes={"width": "8"}, size_values=range(1, 41))
        assert not {item.experiment_id for item in plain.experiments} & {
            item.experiment_id for item in dialled.experiments
        }
