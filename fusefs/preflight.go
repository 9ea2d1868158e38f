package fusefs

// Preflight says, before anything is started, what Mount would refuse for
// reasons that waiting does not mend: rights, kernel, device, mount point.
func Preflight(lower, mount string) error {
	if err := checkHost(); err != nil {
		return err
	}
	return checkMountPoint(lower, mount)
}

// CheckLower reports whether LiteFS is mounted at lower and answers.
func CheckLower(lower string) error { return checkLower(lower) }
