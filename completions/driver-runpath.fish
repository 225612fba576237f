# Commands and options as the help lists them, so this never falls behind.

function __driver_runpath_commands
    driver-runpath -h | string replace -rf '^  ([a-z]+)  +(.*)' '$1\t$2'
end

function __driver_runpath_options
    set -l words (commandline -opc)
    driver-runpath $words[2] -h | string replace -rf '^ +(?:-., )?(--[a-z-]+)(?:[ =][^ ]+)? +(.*)' '$1\t$2'
end

complete -c driver-runpath -n __fish_use_subcommand -f -a '(__driver_runpath_commands)'
complete -c driver-runpath -n 'not __fish_use_subcommand; and string match -q -- "-*" (commandline -ct)' \
    -f -a '(__driver_runpath_options)'
