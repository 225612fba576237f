# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_driver_runpath_global_optspecs
    string join \n color= h/help V/version
end

function __fish_driver_runpath_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_driver_runpath_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_driver_runpath_using_subcommand
    set -l cmd (__fish_driver_runpath_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "fix" -d 'Give every file that loads the driver the driver\'s directory, in place'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "check" -d 'Say which files load the driver, whether its directory is in their search path, and why we think so. Changes nothing'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "explain" -d 'Say of each file what it is, why it is believed to load the driver, and what the loader would find for it. Changes and runs nothing'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "audit" -d 'Say which libraries files likely open, and whether the loader would find them. Changes and runs nothing'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "gpu-code" -d 'Say which GPUs each file carries code for, which all files run on, and which hold them back. Changes nothing'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "runpath" -d 'Print, set, extend, shrink or remove the search path of the files named, whatever they load'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "patchelf" -d 'Stand in for patchelf: its flags for search paths, with its meaning. So does a link to this program by that name'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "completions" -d 'Print the completions of a shell'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "man" -d 'Print the manual page of the program, or write all pages into a directory'
complete -c driver-runpath -n "__fish_driver_runpath_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l driver-link -d 'The link to the running driver; its lib directory is what is searched [default: /run/opengl-driver, and for 32-bit x86 /run/opengl-driver-32]' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l driver-lib -d 'A further SONAME that counts as a driver library' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l group -d 'A further group of names that count as driver libraries' -r -f -a "graphics\t'What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for in the driver directory'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l exclude -d 'Pass over what matches, in directories: a name, or with a slash a path, from PATH on, as it is printed, or absolute' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l prepend -d 'A directory to put before the driver\'s' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l skip-damaged -d 'A damaged ELF file found in a directory is worth a warning, not an error'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -s q -l quiet -d 'Say less: no lines for single files; twice: errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -s v -l verbose -d 'Say more: of each file, and of every ELF file'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l json -d 'Print one JSON document'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l all -d 'Take every dynamic file, whatever it loads'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l drop-stubs -d 'Take directories of link-time stubs out of the search paths of files that do not load the driver, too; one stays that holds a library which the file needs and no driver provides'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l allow-relative -d 'Take a relative directory for --prepend, too: the loader searches it from wherever the program runs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand fix" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l driver-link -d 'The link to the running driver; its lib directory is what is searched [default: /run/opengl-driver, and for 32-bit x86 /run/opengl-driver-32]' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l driver-lib -d 'A further SONAME that counts as a driver library' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l group -d 'A further group of names that count as driver libraries' -r -f -a "graphics\t'What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for in the driver directory'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l exclude -d 'Pass over what matches, in directories: a name, or with a slash a path, from PATH on, as it is printed, or absolute' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l skip-damaged -d 'A damaged ELF file found in a directory is worth a warning, not an error'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -s q -l quiet -d 'Say less: no lines for single files; twice: errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -s v -l verbose -d 'Say more: of each file, and of every ELF file'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l json -d 'Print one JSON document'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l no-stubs -d 'Stubs are wrong wherever nothing needs them: their directories in any search path, stubs in resolution notes, store paths of packages of stubs (*-cuda*-stubs) in files of any kind. Reads every byte'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -l failing -d 'Say something of those files alone that are not as they should be'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand check" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l sysroot -d 'The root of the system that the file is for: every absolute path is looked up below it, LD_LIBRARY_PATH is not asked' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l loaded-by -d 'Who loads the file, for its RPATH; again, who loads that; the last one is the executable' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l driver-link -d 'The link to the running driver; its lib directory is what is searched [default: /run/opengl-driver, and for 32-bit x86 /run/opengl-driver-32]' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l driver-lib -d 'A further SONAME that counts as a driver library' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l group -d 'A further group of names that count as driver libraries' -r -f -a "graphics\t'What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for in the driver directory'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -l json -d 'Print one JSON document for each file'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand explain" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l expect -d 'A name that is missing for a good reason' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l ignore -d 'Names to say nothing about' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l driver-link -d 'The link to the running driver; its lib directory is what is searched [default: /run/opengl-driver, and for 32-bit x86 /run/opengl-driver-32]' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l driver-lib -d 'A further SONAME that counts as a driver library' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l group -d 'A further group of names that count as driver libraries' -r -f -a "graphics\t'What libglvnd and the loaders of Vulkan, OpenCL, VA-API, VDPAU and Level Zero look for in the driver directory'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l exclude -d 'Pass over what matches, in directories: a name, or with a slash a path, from PATH on, as it is printed, or absolute' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l missing -d 'Only what is not found'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l strict -d 'Exit with status 1 where something is missing that is not expected, or expected and not missing'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l skip-damaged -d 'A damaged ELF file found in a directory is worth a warning, not an error'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -s q -l quiet -d 'Say less: no lines for single files; twice: errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -s v -l verbose -d 'Say more: of each file, and of every ELF file'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -l json -d 'Print one JSON document'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand audit" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -l require -d 'GPUs on which each file must run: 8.6, 86 or sm_86; with +PTX behind it, on all later ones, too. 9.0a asks for code with all that such a GPU can do. A name such as gfx90a is for files with code for AMD\'s GPUs' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -l exclude -d 'Pass over what matches, in directories: a name, or with a slash a path, from PATH on, as it is printed, or absolute' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -l skip-damaged -d 'A damaged ELF file found in a directory is worth a warning, not an error'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -s q -l quiet -d 'Say less: no lines for single files; twice: errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -s v -l verbose -d 'Say more: of each file, and of every ELF file'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -l json -d 'Print one JSON document'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand gpu-code" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "print" -d 'Print the search path; of several files, with their names and the tag'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "set" -d 'Set the search path to PATH, directories with colons between them'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "prepend" -d 'Put the directories of PATH first'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "append" -d 'Put the directories of PATH last, but for those that are there already'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "remove" -d 'Take directories out of the search path; what is left of it stays. "clear" takes all of it away'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "clear" -d 'Take the whole search path away, DT_RPATH and DT_RUNPATH'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "shrink" -d 'Drop the absolute directories in which nothing is found that the file needs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and not __fish_seen_subcommand_from print set prepend append remove clear shrink help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from print" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from print" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from print" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l allow-relative -d 'Take relative directories, too: the loader searches them from wherever the program runs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from set" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l allow-relative -d 'Take relative directories, too: the loader searches them from wherever the program runs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from prepend" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l allow-relative -d 'Take relative directories, too: the loader searches them from wherever the program runs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from append" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from clear" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l allowed-prefix -d 'Drop directories that do not start with PREFIX, too. Can be repeated' -r
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -s o -l output -d 'Write the result there, whether it is different or not, and leave FILE as it is' -r -F
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -s n -l dry-run -d 'Do everything but write'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l force-rpath -d 'Use DT_RPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l force-runpath -d 'Use DT_RUNPATH, whatever the file has'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l break-links -d 'Replace a file that has hard links elsewhere, as in a cache of uv or conda, or that runs, by a patched copy'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -l sync -d 'Write each step to the disk before the next, so that a power failure loses nothing either'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -s q -l quiet -d 'Errors alone'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from shrink" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "print" -d 'Print the search path; of several files, with their names and the tag'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "set" -d 'Set the search path to PATH, directories with colons between them'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "prepend" -d 'Put the directories of PATH first'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "append" -d 'Put the directories of PATH last, but for those that are there already'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Take directories out of the search path; what is left of it stays. "clear" takes all of it away'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "clear" -d 'Take the whole search path away, DT_RPATH and DT_RUNPATH'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "shrink" -d 'Drop the absolute directories in which nothing is found that the file needs'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand runpath; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand patchelf" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand completions" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand completions" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand man" -l color -d 'When the report is coloured; auto: on a terminal, unless NO_COLOR and its like say otherwise' -r -f -a "auto\t'On a terminal'
always\t'As on a terminal, wherever it goes'
never\t'Not at all'"
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand man" -s V -l version -d 'Print version'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "fix" -d 'Give every file that loads the driver the driver\'s directory, in place'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "check" -d 'Say which files load the driver, whether its directory is in their search path, and why we think so. Changes nothing'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "explain" -d 'Say of each file what it is, why it is believed to load the driver, and what the loader would find for it. Changes and runs nothing'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "audit" -d 'Say which libraries files likely open, and whether the loader would find them. Changes and runs nothing'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "gpu-code" -d 'Say which GPUs each file carries code for, which all files run on, and which hold them back. Changes nothing'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "runpath" -d 'Print, set, extend, shrink or remove the search path of the files named, whatever they load'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "patchelf" -d 'Stand in for patchelf: its flags for search paths, with its meaning. So does a link to this program by that name'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "completions" -d 'Print the completions of a shell'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "man" -d 'Print the manual page of the program, or write all pages into a directory'
complete -c driver-runpath -n "__fish_driver_runpath_using_subcommand help; and not __fish_seen_subcommand_from fix check explain audit gpu-code runpath patchelf completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
