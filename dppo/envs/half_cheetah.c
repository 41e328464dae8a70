#include "envs/half_cheetah.h"

#include "envs/task.h"

/* The half cheetah of Gym's HalfCheetah-v2, written anew from its numbers. Masses are scaled to 14 kg in
 * total; only the floor collides. */
// clang-format off
static const char xml[] =
    "<mujoco model='half_cheetah'>\n"
    "  <compiler angle='radian' inertiafromgeom='true' settotalmass='14'/>\n"
    "  <option timestep='0.01'/>\n"
    DPPO_MODEL_SIZE
    "  <default>\n"
    "    <geom type='capsule' conaffinity='0' friction='0.4 0.1 0.1' solref='0.02 1' solimp='0 0.8 0.01'/>\n"
    "    <joint type='hinge' axis='0 1 0' armature='0.1' limited='true' solreflimit='0.02 1' solimplimit='0 0.8 0.03'/>\n"
    "    <motor ctrllimited='true' ctrlrange='-1 1'/>\n"
    "    <default class='root'>\n"
    "      <joint armature='0' limited='false'/>\n"
    "    </default>\n"
    "  </default>\n"
    "  <worldbody>\n"
    "    <geom name='floor' type='plane' size='40 40 40' conaffinity='1'/>\n"
    "    <body name='torso' pos='0 0 0.7'>\n"
    "      <joint name='rootx' class='root' type='slide' axis='1 0 0'/>\n"
    "      <joint name='rootz' class='root' type='slide' axis='0 0 1'/>\n"
    "      <joint name='rooty' class='root'/>\n"
    "      <geom name='torso' fromto='-0.5 0 0 0.5 0 0' size='0.046'/>\n"
    "      <geom name='head' pos='0.6 0 0.1' axisangle='0 1 0 0.87' size='0.046 0.15'/>\n"
    "      <body name='bthigh' pos='-0.5 0 0'>\n"
    "        <joint name='bthigh' range='-0.52 1.05' damping='6' stiffness='240'/>\n"
    "        <geom name='bthigh' pos='0.1 0 -0.13' axisangle='0 1 0 -3.8' size='0.046 0.145'/>\n"
    "        <body name='bshin' pos='0.16 0 -0.25'>\n"
    "          <joint name='bshin' range='-0.785 0.785' damping='4.5' stiffness='180'/>\n"
    "          <geom name='bshin' pos='-0.14 0 -0.07' axisangle='0 1 0 -2.03' size='0.046 0.15'/>\n"
    "          <body name='bfoot' pos='-0.28 0 -0.14'>\n"
    "            <joint name='bfoot' range='-0.4 0.785' damping='3' stiffness='120'/>\n"
    "            <geom name='bfoot' pos='0.03 0 -0.097' axisangle='0 1 0 -0.27' size='0.046 0.094'/>\n"
    "          </body>\n"
    "        </body>\n"
    "      </body>\n"
    "      <body name='fthigh' pos='0.5 0 0'>\n"
    "        <joint name='fthigh' range='-1 0.7' damping='4.5' stiffness='180'/>\n"
    "        <geom name='fthigh' pos='-0.07 0 -0.12' axisangle='0 1 0 0.52' size='0.046 0.133'/>\n"
    "        <body name='fshin' pos='-0.14 0 -0.24'>\n"
    "          <joint name='fshin' range='-1.2 0.87' damping='3' stiffness='120'/>\n"
    "          <geom name='fshin' pos='0.065 0 -0.09' axisangle='0 1 0 -0.6' size='0.046 0.106'/>\n"
    "          <body name='ffoot' pos='0.13 0 -0.18'>\n"
    "            <joint name='ffoot' range='-0.5 0.5' damping='1.5' stiffness='60'/>\n"
    "            <geom name='ffoot' pos='0.045 0 -0.07' axisangle='0 1 0 -0.6' size='0.046 0.07'/>\n"
    "          </body>\n"
    "        </body>\n"
    "      </body>\n"
    "    </body>\n"
    "  </worldbody>\n"
    "  <actuator>\n"
    "    <motor joint='bthigh' gear='120'/>\n"
    "    <motor joint='bshin' gear='90'/>\n"
    "    <motor joint='bfoot' gear='60'/>\n"
    "    <motor joint='fthigh' gear='120'/>\n"
    "    <motor joint='fshin' gear='60'/>\n"
    "    <motor joint='ffoot' gear='30'/>\n"
    "  </actuator>\n"
    "</mujoco>\n";
// clang-format on

const char *dppo_half_cheetah_xml(void) {
    return xml;
}
