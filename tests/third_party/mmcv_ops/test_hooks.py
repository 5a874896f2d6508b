import sys

from mmcv_ops.hooks import when_imported


def test_patches_run_when_the_module_is_there(tmp_path, monkeypatch):
    (tmp_path / "patched_by_a_test.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    seen = []

    def first(module):
        seen.append(("first", module.value))
        module.value = 2

    def second(module):
        seen.append(("second", module.value))

    when_imported("patched_by_a_test", first)
    when_imported("patched_by_a_test", first)
    assert seen == []
    import patched_by_a_test

    assert patched_by_a_test.value == 2
    when_imported("patched_by_a_test", second)
    assert seen == [("first", 1), ("second", 2)]
    assert type(patched_by_a_test.__loader__).__name__ != "_After"
    assert patched_by_a_test.__spec__.loader is patched_by_a_test.__loader__
    monkeypatch.delitem(sys.modules, "patched_by_a_test")


def test_a_module_that_is_not_there_stays_so():
    when_imported("there_is_no_such_module", print)
    try:
        import there_is_no_such_module  # noqa: F401
    except ModuleNotFoundError as error:
        assert error.name == "there_is_no_such_module"
    else:
        raise AssertionError("found")
