//! Precedence, errors, and printing.

use super::*;
use crate::log::LogFormat;
use base64::Engine;
use clap::Parser;
use rouse_core::Identity;
use rouse_core::node::Limits;

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roused.toml");
    fs::write(&path, text).unwrap();
    let flags =
        Flags { config: Some(path), state_dir: Some(folder.path().join("state")), ..Flags::default() };
    (folder, flags)
}

fn load(text: &str) -> Result<Config, ConfigError> {
    let (_folder, flags) = file(text);
    Config::load(&flags)
}

fn error_text(text: &str) -> String {
    let (folder, flags) = file(text);
    let error = Config::load(&flags).unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "")
}

const FULL: &str = r#"
[node]
name = "kitchen"
[[netmod]]
kind = "udp"
listen = "127.0.0.1:7700"
discover = true
interfaces = ["eth*", "wlan0"]
peers = ["192.0.2.7:7700", "udp:host.example:1"]
[[netmod]]
kind = "udp"
listen = "[::1]:0"
[limits]
neighbours = 8
senders = 9
destinations = 10
inbox_frames = 11
inbox_messages = 12
reassembly = "1MiB"
journal = "2MiB"
[api]
listen = "unix:/run/rouse/rouse.sock"
[http]
listen = "[::1]:9464"
[log]
level = "info,rouse_core=debug"
"#;

#[test]
fn without_a_file_the_defaults_apply() {
    let config = Config::load(&Flags { state_dir: Some("/s".into()), ..Flags::default() }).unwrap();
    assert_eq!(config.netmods, [NetmodConfig::default()]);
    assert_eq!((config.limits, config.api), (Limits::default(), ApiSocket::StateDir));
    assert_eq!((config.log_level.as_str(), config.name), ("info", None));
}

#[test]
fn flags_take_precedence_over_the_file_and_the_file_over_the_defaults() {
    let (_folder, mut flags) = file(FULL);
    let config = Config::load(&flags).unwrap();
    assert_eq!(config.name.as_deref(), Some("kitchen"));
    assert_eq!(config.peers, ["udp:192.0.2.7:7700", "udp:host.example:1"]);
    assert_eq!(config.netmods.len(), 2);
    assert_eq!((config.limits.inbox_frames, config.limits.reassembly), (11, 1 << 20));

    flags.name = Some("cellar".into());
    flags.log = Some("warn".into());
    flags.listen = vec!["udp:127.0.0.1:1".into(), "udp:127.0.0.1:2".into(), "udp:127.0.0.1:3".into()];
    flags.peer = vec!["udp:192.0.2.9:1".into(), "udp:192.0.2.7:7700".into()];
    flags.no_discover = true;
    let config = Config::load(&flags).unwrap();
    assert_eq!((config.name.as_deref(), config.log_level.as_str()), (Some("cellar"), "warn"));
    let listens: Vec<&str> = config.netmods.iter().map(|netmod| netmod.listen.as_str()).collect();
    assert_eq!(listens, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    assert!(config.netmods.iter().all(|netmod| !netmod.discover && netmod.interfaces.len() == 2));
    assert_eq!(config.peers, ["udp:192.0.2.7:7700", "udp:host.example:1", "udp:192.0.2.9:1"]);
}

#[test]
fn a_printed_configuration_has_the_same_effect_when_it_is_loaded() {
    let bob = Identity::generate().address();
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), base64::engine::general_purpose::STANDARD.encode([7; 32])).unwrap();
    let full = format!("{FULL}[names]\nbob = \"{bob}\"\n\"kü che\\u0021\" = \"{bob}\"\n")
        .replace("kü che", "kü.che")
        + &format!("[mesh]\nkey = \"{}\"\nallow = [\"bob\"]\ndeny = [\"{bob}\"]\n", key.path().display());
    for text in ["", &full] {
        let (_folder, mut flags) = file(text);
        let config = Config::load(&flags).unwrap();
        let printed = config.to_toml();
        let again = flags.config.clone().unwrap();
        fs::write(&again, &printed).unwrap();
        flags.config = Some(again);
        assert_eq!(Config::load(&flags).unwrap(), config, "{printed}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_its_file_line_and_the_nearest_key() {
    let text = error_text("[node]\nname = \"a\"\n\n[[netmod]]\nkind = \"udp\"\nlisen = \"[::]:7700\"\n");
    assert_eq!(text, "/roused.toml, line 6: unknown key `lisen` in [netmod]; did you mean `listen`?");
    assert_eq!(error_text("[nodes]\n"), "/roused.toml, line 1: unknown table [nodes]; did you mean `node`?");
    let text = error_text("\n[mesh]\nqqq = 1\n");
    assert_eq!(text, "/roused.toml, line 3: unknown key `qqq` in [mesh]; known are key, allow, deny");
    assert!(error_text("name = \"a\"\n").contains("line 1"), "a key outside of any table");
}

#[test]
fn a_wrong_value_is_refused_with_its_line() {
    let wrong = [
        ("[node]\nname = 7\n", 2, "string"),
        ("[limits]\n\nreassembly = \"much\"\n", 3, "64MiB"),
        ("[limits]\nneighbours = 0\n", 2, "between 1"),
        ("[limits]\nneighbours = -1\n", 2, "between 1"),
        ("[[netmod]]\nkind = \"tcp\"\n", 2, "udp"),
        ("[[netmod]]\nlisten = \"[::]\"\n", 1, "kind"),
        ("[names]\nbob = \"rouse1qqqq\"\n", 2, "mistyped"),
        ("[node\n", 1, "]"),
        ("netmod = 3\n", 1, "[[netmod]]"),
    ];
    for (text, line, word) in wrong {
        let error = error_text(text);
        assert!(error.contains(&format!("line {line}:")) && error.contains(word), "{text:?}: {error}");
    }
}

#[test]
fn an_invalid_value_is_refused_before_anything_is_opened() {
    let wrong = [
        ("[node]\nname = \"two words\"\n", "spaces"),
        ("[[netmod]]\nkind = \"udp\"\nlisten = \"nowhere\"\n", "nowhere"),
        ("[api]\nlisten = \"tcp:1\"\n", "unix"),
        ("[log]\nlevel = \"lots=of=noise\"\n", "level"),
        ("[mesh]\nkey = \"no-such-file\"\n", "no-such-file"),
    ];
    for (text, word) in wrong {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(word), "{text:?}: {error}");
    }
    let flags = |peer: &str, listen: &str| Flags {
        state_dir: Some("/s".into()),
        peer: Some(peer.to_owned()).filter(|peer| !peer.is_empty()).into_iter().collect(),
        listen: Some(listen.to_owned()).filter(|listen| !listen.is_empty()).into_iter().collect(),
        ..Flags::default()
    };
    assert!(Config::load(&flags("192.0.2.7:7700", "")).unwrap_err().to_string().contains("udp:192.0.2.7"));
    assert!(Config::load(&flags("", "tcp:[::]:1")).unwrap_err().to_string().contains("tcp"));
    assert!(Config::load(&flags("udp:192.0.2.7", "udp:127.0.0.1:0")).is_ok());
}

/// Invalid values of the right type, for each key.
fn invalid(table: &str, key: &str) -> &'static [&'static str] {
    match (table, key) {
        ("node", "name") => &["\"two words\"", "\"rouse1me\""],
        ("netmod", "kind") => &["\"tcp\"", "\"\""],
        ("netmod", "listen") => &["\"here\"", "\"127.0.0.1:99999\"", "\"tcp:127.0.0.1:1\"", "\"\""],
        ("netmod", "discover") => &[],
        ("netmod", "interfaces") => {
            &["[\"\"]", "[\"eth0\", \"eth 1\"]", "[\"/dev/ttyS0\"]", "[\"abcdefghijklmnop\"]"]
        }
        ("netmod", "peers") => &[
            "[\"192.0.2.7:99999\"]",
            "[\"192.0.2.7:1\", \"udp:\"]",
            "[\"tcp:192.0.2.7:1\"]",
            "[\"2001:db8::7\"]",
            "[\"[fe80::1]:1\"]",
            "[\"192.0.2.7:0\"]",
            "[\"0.0.0.0:1\"]",
        ],
        ("mesh", "key") => &["\"no-such-file\"", "\".\"", "\"/dev/null\""],
        ("mesh", "allow" | "deny") => &["[\"rouse1qqqq\"]", "[\"no-such-name\"]", "[\"\"]"],
        ("limits", "journal") => &["\"much\"", "\"1MB\"", "0", "-1"],
        ("limits", "reassembly") => &["\"much\"", "\"1 parsec\"", "-1", "\"99999999999GiB\""],
        ("limits", _) => &["0", "-1", "4294967296"],
        ("api", "listen") => &["\"here\"", "\"unix:here\"", "\"tcp:127.0.0.1:1\""],
        ("http", "listen") => &["\"0.0.0.0:9464\"", "\"9464\"", "\"localhost:9464\"", "\"192.0.2.7:80\""],
        ("log", "level") => &["\"loud\"", "\"\"", "\"rouse_core=loud\""],
        ("names", _) => &["\"rouse1qqqq\"", "\"bob\""],
        other => panic!("no invalid value is listed for {other:?}"),
    }
}

#[test]
fn every_wrong_value_is_refused_with_its_file_line_key_and_a_right_value() {
    let bob = Identity::generate().address();
    let (_folder, flags) = file(&format!("{FULL}[names]\nbob = \"{bob}\"\n"));
    let printed = Config::load(&flags).unwrap().to_toml();
    let lines: Vec<&str> = printed.lines().collect();
    let (mut table, mut seen) = ("", 0);
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']);
        }
        let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        let key = key.trim_matches('"');
        seen += 1;
        let wrong_types = ["1979-05-27", "{ a = 1 }", "0.5", "[[1]]"].into_iter();
        let other_type = if value.starts_with('"') || value.starts_with('[') { "true" } else { "[\"x\"]" };
        for wrong in wrong_types.chain([other_type]).chain(invalid(table, key).iter().copied()) {
            let mut lines = lines.clone();
            let written = format!("{} = {wrong}", line.split_once(" = ").unwrap().0);
            lines[at] = &written;
            let error = error_text(&lines.join("\n"));
            let location = format!("/roused.toml, line {}: `{key}` in [{table}]: ", at + 1);
            let text =
                error.strip_prefix(&location).unwrap_or_else(|| panic!("{written}: {error}, not {location}"));
            assert!(text.len() > 20 && !error.contains('\n'), "{written}: {error}");
        }
    }
    // Each key of the file, in both tables of network modules.
    assert_eq!(seen, 1 + 2 * 5 + 3 + 7 + 1 + 1 + 1 + 1, "{printed}");
}

#[test]
fn a_table_that_is_written_as_another_value_is_refused_with_the_way_to_write_it() {
    for table in ["node", "netmod", "mesh", "limits", "api", "http", "log", "names"] {
        let (header, other) = match table {
            "netmod" => ("[[netmod]]", "[netmod]\nkind = \"udp\"\n".to_owned()),
            _ => (&*format!("[{table}]"), format!("[[{table}]]\n")),
        };
        let values = ["3", "true", "0.5", "\"info\"", "1979-05-27", "[1]", "[\"info\"]", "[[{}]]"];
        for text in values.iter().map(|value| format!("{table} = {value}\n")).chain([other]) {
            let wanted = format!(
                "/roused.toml, line 2: `{table}` is a table: write {header}, and its keys in the lines below"
            );
            assert_eq!(error_text(&format!("# Mine\n{text}")), wanted, "{text}");
        }
    }
}

#[test]
fn a_key_outside_of_its_table_is_refused_with_the_table_that_it_belongs_to() {
    let listen = error_text("listen = \"[::]:7700\"\n");
    assert_eq!(
        listen,
        "/roused.toml, line 1: `listen` stands outside of its table: write it below [[netmod]], [api] or [http]"
    );
    assert!(error_text("neighbours = 3\n").ends_with("write it below [limits]"));
    assert!(error_text("[level]\n").contains("unknown table [level]"));
}

#[test]
fn a_wrong_item_of_a_long_list_is_found_at_its_own_line() {
    let error = error_text("[[netmod]]\nkind = \"udp\"\npeers = [\n \"a:1\",\n \"b:x\",\n]\n");
    assert!(
        error.starts_with("/roused.toml, line 5: `peers` in [netmod]: ") && error.contains("b:x"),
        "{error}"
    );
    let error = error_text("[names]\n\"two words\" = \"rouse1\"\n");
    assert!(error.starts_with("/roused.toml, line 2: `two words` in [names]: "), "{error}");
}

#[test]
fn a_wrong_flag_is_named() {
    let flags = |set: fn(&mut Flags)| {
        let mut flags = Flags { state_dir: Some("/s".into()), ..Flags::default() };
        set(&mut flags);
        Config::load(&flags).unwrap_err().to_string()
    };
    assert!(flags(|flags| flags.name = Some("two words".into())).starts_with("--name: "));
    assert!(flags(|flags| flags.log = Some("loud".into())).starts_with("--log: "));
    assert!(flags(|flags| flags.listen = vec!["udp:here".into()]).starts_with("--listen: "));
    assert!(flags(|flags| flags.peer = vec!["udp:192.0.2.7:99999".into()]).starts_with("--peer: "));
}

#[test]
fn a_mesh_key_is_32_bytes_in_base64() {
    let (folder, flags) = file("[mesh]\nkey = \"key\"\n");
    let key = folder.path().join("key");
    let text = base64::engine::general_purpose::STANDARD.encode([9; 32]);
    fs::write(&key, format!("{text}\n")).unwrap();
    assert_eq!(Config::load(&flags).unwrap().read_mesh_key().unwrap(), Some([9; 32].into()));
    for wrong in ["", "hello", &text[..40], &format!("{text}{text}")] {
        fs::write(&key, wrong).unwrap();
        assert!(Config::load(&flags).unwrap_err().to_string().contains("base64"), "{wrong}");
    }
}

#[test]
fn a_mesh_key_that_every_user_can_read_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, flags) = file("[mesh]\nkey = \"key\"\n");
    let key = folder.path().join("key");
    fs::write(&key, base64::engine::general_purpose::STANDARD.encode([9; 32])).unwrap();
    for (mode, warned) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = Config::load(&flags).unwrap().warnings();
        assert_eq!(warnings.iter().any(|text| text.contains("chmod 600")), warned, "{mode:o}: {warnings:?}");
    }
}

#[test]
fn all_flags_of_the_interface_are_parsed() {
    let flags = Flags::try_parse_from([
        "roused",
        "--state-dir",
        "/a",
        "--listen",
        "udp:127.0.0.1:1",
        "--listen",
        "udp:127.0.0.1:2",
        "--peer",
        "udp:h:3",
        "--no-discover",
        "--name",
        "n",
        "--log",
        "debug",
        "--log-format",
        "json",
        "--check",
    ])
    .unwrap();
    assert_eq!((flags.listen.len(), flags.peer.len(), flags.no_discover, flags.check), (2, 1, true, true));
    assert_eq!(flags.log_format, LogFormat::Json);
    assert!(Flags::try_parse_from(["roused", "--no-such-flag"]).is_err());
}
