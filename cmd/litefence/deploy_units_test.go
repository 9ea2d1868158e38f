package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// takesCommand reports what is wrong with a command line of this program, without
// running it.
func takesCommand(args []string) error {
	cmd, rest, err := findCommand(commands(), args)
	if err != nil {
		return err
	}
	return flagsOf(cmd).Parse(rest)
}

const unitsDir = "../../deploy/systemd"

func unitFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.service", "*.service.d/*.conf"} {
		found, err := filepath.Glob(filepath.Join(unitsDir, pattern))
		require.NoError(t, err)
		files = append(files, found...)
	}
	require.Len(t, files, 4)
	return files
}

// namespaced are the settings that give a unit a mount namespace of its own
// (systemd.exec(5)), from which nobody else would see what it mounts.
var namespaced = regexp.MustCompile(`^(Private\w+|Protect(System|Home|Proc|Kernel\w+|ControlGroups)|ProcSubset|\w+Paths|` +
	`Root\w+|Mount\w+|Extension\w+|TemporaryFileSystem|LogNamespace|IPCNamespacePath|DynamicUser|(Load|Set|Import)Credential\w*)=`)

// unitFaults lists what must not be in the text of a unit that mounts.
func unitFaults(unit, text string) (found []string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if unit != "app.service" && namespaced.MatchString(line) {
			found = append(found, line+": a mount namespace of its own")
		}
		setting, value, _ := strings.Cut(line, "=")
		args, ours := strings.CutPrefix(value, "/usr/local/bin/litefence ")
		if ours && strings.HasPrefix(setting, "Exec") {
			if err := takesCommand(strings.Fields(args)); err != nil {
				found = append(found, fmt.Sprintf("%s: %v", line, err))
			}
		}
	}
	return found
}

func TestUnits(t *testing.T) {
	for _, file := range unitFiles(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Empty(t, unitFaults(filepath.Base(file), string(text)), file)
	}
	for _, line := range []string{
		"PrivateTmp=yes", "ProtectSystem=strict", "ProtectKernelModules=yes", "ReadWritePaths=/x", "MountFlags=slave", "LoadCredential=a:b",
		"ExecStart=/usr/local/bin/litefence run -confg x", "ExecStartPost=/usr/local/bin/litefence wait -timeout 5min", "ExecStop=/usr/local/bin/litefence stop",
	} {
		require.Len(t, unitFaults("litefence.service", "[Service]\n"+line+"\n"), 1, line)
	}
	require.Empty(t, unitFaults("litefence.service", "ProtectHostname=yes\nProtectClock=yes\n"))
}

// systemd itself reads the units, where it is installed: it says what it does not
// know.
func TestUnitsAreSystemds(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (Debian: systemd)")
	}
	dir := t.TempDir()
	verify := func(change func(string) string) string {
		var units []string
		for _, file := range unitFiles(t) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			rel, err := filepath.Rel(unitsDir, file)
			require.NoError(t, err)
			to := filepath.Join(dir, rel)
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			// The programs need not be there; that they are not would be said.
			changed := regexp.MustCompile(`/usr/local/bin/\w+`).ReplaceAllString(change(string(text)), "/bin/true")
			require.NoError(t, os.WriteFile(to, []byte(changed), 0o644))
			if strings.HasSuffix(to, ".service") {
				units = append(units, to)
			}
		}
		cmd := exec.Command(analyze, append([]string{"verify", "--man=no"}, units...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && len(out) == 0 {
			return err.Error()
		}
		return string(out)
	}
	require.Empty(t, verify(func(s string) string { return s }))
	require.Contains(t, verify(func(s string) string { return strings.ReplaceAll(s, "NoNewPrivileges=", "NoNewPrivilege=") }), "NoNewPrivilege")
}
