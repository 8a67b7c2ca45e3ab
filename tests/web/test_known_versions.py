from pixloop.web.known_versions import KnownVersions


def test_a_note_spares_asking_until_the_registry_changes(project, tmp_path, monkeypatch):
    first = KnownVersions(tmp_path / "versions.json").list(project)
    assert [version.version for version in first] == ["1"]

    def refuse(self):
        raise AssertionError("the registry was asked")

    with monkeypatch.context() as patched:
        patched.setattr("pixloop.registry.Registry.list", refuse)
        assert KnownVersions(tmp_path / "versions.json").list(project) == first
    project.registry.approve("1")
    assert KnownVersions(tmp_path / "versions.json").list(project)[0].champion


def test_a_damaged_note_is_written_anew(project, tmp_path):
    (tmp_path / "versions.json").write_text('{"seen": [], "versions": [{}]}')
    assert len(KnownVersions(tmp_path / "versions.json").list(project)) == 1


def test_without_a_registry_there_are_none(new_site):
    assert new_site.versions() == ()
