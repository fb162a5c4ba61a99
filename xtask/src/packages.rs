//! System packages of the tests: a Vulkan adapter, a browser, node.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{process, workspace::Workspace};

/// Names under which a Chromium may be installed.
const CHROMIUM: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// A Vulkan driver for the GPU path of the native tests; lavapipe does. Only Linux lacks one by default.
pub fn ensure_vulkan(workspace: &Workspace) -> Result<()> {
    let listed = |folder: &str| {
        std::fs::read_dir(folder).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.path().extension().is_some_and(|kind| kind == "json"))
        })
    };
    let folders = [
        "/usr/share/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
        "/etc/vulkan/icd.d",
    ];
    let present = !cfg!(target_os = "linux")
        || std::env::var_os("VK_ICD_FILENAMES").is_some()
        || std::env::var_os("VK_DRIVER_FILES").is_some()
        || folders.into_iter().any(listed);
    install(
        workspace,
        if present {
            &[]
        } else {
            &["mesa-vulkan-drivers", "libvulkan1"]
        },
    )
}

/// Chromium, node and npm for the tests of the page.
pub fn ensure_browser(workspace: &Workspace) -> Result<()> {
    let mut missing = Vec::new();
    // Elsewhere than on Linux browsers do not lie on the PATH: the tests look for them and say what they miss.
    let named = std::env::var_os("CHROMIUM").is_some_and(|path| Path::new(&path).is_file());
    if cfg!(target_os = "linux") && !named && process::on_path(&CHROMIUM).is_none() {
        missing.push("chromium");
    }
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if process::on_path(&[program]).is_none() {
            missing.push(package);
        }
    }
    install(workspace, &missing)
}

/// The node package that drives the browser, at its locked version.
pub fn npm_ci(workspace: &Workspace) -> Command {
    let mut npm = process::command("npm", &workspace.root.join("tests/browser"));
    npm.args(["ci", "--no-audit", "--no-fund"]);
    npm
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if process::on_path(&["apt-get"]).is_none() {
        bail!(
            "missing on this system: {}. Bring them with its package manager; on Debian or Ubuntu it would be\n    \
             sudo {command}",
            packages.join(", ")
        );
    }
    let root = process::stdout(process::command("id", &workspace.root).arg("-u"))
        .is_ok_and(|id| id.trim() == "0");
    let sudo =
        !root && process::succeeds(process::command("sudo", &workspace.root).args(["-n", "true"]));
    if !root && !sudo {
        bail!(
            "missing: {}. Run this, then start again:\n    sudo {command}",
            packages.join(", ")
        );
    }
    println!("installing {} with apt-get", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut apt = process::command(if sudo { "sudo" } else { "env" }, &workspace.root);
        // sudo takes the assignment as env does.
        apt.arg("DEBIAN_FRONTEND=noninteractive")
            .arg("apt-get")
            .args(arguments);
        process::run(&mut apt)
    };
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    // Lists first: a fresh image has none, and an old one names files that are gone.
    if let Err(error) = apt(&["update"]).and_then(|()| apt(&arguments)) {
        bail!("{error}\nRun this, then start again:\n    sudo apt-get update && sudo {command}");
    }
    Ok(())
}
