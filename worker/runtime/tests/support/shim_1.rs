//! A shim of version 1 in all that a daemon sees of one: what it reads, says, answers and leaves behind. Its container is
//! a plain process. It changes no more: shims of that version run on under daemons of every later one.

#![allow(clippy::unwrap_used, reason = "only tests use it")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        net::{UnixListener, UnixStream},
        process::ExitStatusExt as _,
    },
    path::Path,
    process::{Command, Stdio, exit},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

pub(crate) fn run(bundle: &Path, dir: &Path) -> ! {
    let lock = skep_shim::lock::Lock::take(dir).unwrap();
    let plan: Value = serde_json::from_slice(&fs::read(bundle.join("shim.json")).unwrap()).unwrap();
    assert!(plan["privileges"]["seccomp"].is_string());
    let config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
    let args: Vec<&str> = config["process"]["args"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut child = Command::new(args[0]).args(&args[1..]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let pid = child.id();

    std::env::set_current_dir(dir).unwrap();
    let listener = UnixListener::bind("shim.sock").unwrap();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", json!({ "started": { "pid": pid, "started": 9 } })).unwrap();
    rustix::stdio::dup2_stdout(fs::File::open("/dev/null").unwrap()).unwrap();

    let waiting: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
    let waiters = Arc::clone(&waiting);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, waiters) = (stream.unwrap(), Arc::clone(&waiters));
            thread::spawn(move || serve(stream, pid, &waiters));
        }
    });
    let status = child.wait().unwrap();
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap();
    let record = json!({ "code": code, "oom": false, "at": 10 });
    fs::write(bundle.join("exit.json"), record.to_string()).unwrap();
    for mut stream in waiting.lock().unwrap().drain(..) {
        let _ = writeln!(stream, "{}", json!({ "exited": record }));
    }
    drop(lock);
    exit(0)
}

fn serve(stream: UnixStream, pid: u32, waiting: &Mutex<Vec<UnixStream>>) {
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let Ok(call) = line.map(|line| serde_json::from_str::<Value>(&line).unwrap()) else { return };
        let reply = match &call["request"] {
            _ if call["version"] != 1 => {
                json!({ "refused": format!("this shim speaks version 1, not {}", call["version"]) })
            }
            Value::String(word) if word == "state" => json!({ "running": { "pid": pid, "started": 9 } }),
            Value::String(word) if word == "wait" => {
                waiting.lock().unwrap().push(stream.try_clone().unwrap());
                continue;
            }
            request => {
                let asked = if request["stop"].is_object() { &request["stop"] } else { &request["signal"] };
                let signal = asked["signal"].as_i64().unwrap().to_string();
                Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
                json!("done")
            }
        };
        let _ = writeln!(&stream, "{reply}");
    }
}
